"""Faults tried alone, one after another, on a stack of their own under a little traffic.

`python -m tests.faults.injections [NAME …] [--seed N] [--rate N]`; without a name it lists them. Exit status 0 if each
was made, everything came back and the ledger is what the producers' journals say.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from infra.local.place import layout_of
from infra.local.stack import Stack
from tests.faults import traffic
from tests.faults.fault import Fault, NotHealed, NotInjected, Site
from tests.faults.injections import ALL
from tests.faults.site import open_site, site_at

_BEFORE_S, _AFTER_S = 5.0, 5.0


def main() -> int:
    """Make each fault, prove the ledger after each."""
    known = {fault.name: fault for fault in ALL}
    parser = argparse.ArgumentParser(prog="python -m tests.faults.injections", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=200, help="records a second (default: 200)")
    parser.add_argument("--disks", default="", help="data folders on disks of their own: postgres,kafka,outbox")
    parser.add_argument("--at", metavar="FOLDER", help="a stack that runs already, instead of one of their own")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no fault {unknown[0]!r}; there are {', '.join(known)}")
    if not options.names:
        _say("\n".join(f"{fault.code:<5} {fault.name}" for fault in ALL))
        return 0
    disks = {name: 0 for name in options.disks.split(",") if name}
    dice = random.Random(options.seed)  # noqa: S311 - a seed must repeat
    # What is mounted and started is undone when the command is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    where = site_at(Stack(layout_of(options.at), _say)) if options.at else open_site(say=_say, disks=disks)
    with where as site:
        trial = Trial(site, site.layout.root / "journals", options.rate, dice)
        failed = [name for name in options.names if not trial.of(known[name])]
    _say(f"{len(options.names) - len(failed)} of {len(options.names)} faults were made and left the ledger right")
    return 1 if failed else 0


class Trial:
    """Traffic before, during and after a fault; all journals so far are held against the one ledger."""

    def __init__(self, site: Site, folder: Path, rate: int, dice: random.Random) -> None:
        self._site = site
        self._folder = folder
        self._rate = rate
        self._dice = dice
        folder.mkdir(exist_ok=True)
        # What earlier commands sent into the same stack is in its ledger too.
        self._journals = sorted(folder.glob("*.jsonl"))

    def of(self, fault: Fault) -> bool:
        """Whether it was made, healed, and the ledger is right."""
        _say(f"\n{fault.code} {fault.name}")
        seed = len(self._journals) + 1
        try:
            with traffic.sending(self._site, self._folder, rate=self._rate, seed=seed) as journal:
                self._journals.append(journal)
                time.sleep(_BEFORE_S)
                injected = fault.inject(self._site, self._dice)
                _say(f"  {injected.target}: {injected.detail}")
                time.sleep(_AFTER_S)
            _say(f"  {traffic.is_right(self._site, self._journals)}")
        except (NotInjected, NotHealed, AssertionError) as error:
            _say(f"  {type(error).__name__}: {error}")
            return False
        return True


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
