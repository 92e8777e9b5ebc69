"""`python -m serving.simulator`: a fleet of upstreams from a configuration, or one canned upstream for benchmarks.

The first line it prints is a JSON object with the ports it listens on and the models behind them.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from serving.simulator import answering, labelled, questions
from serving.simulator.answering import Label
from serving.simulator.canned import Canned
from serving.simulator.config import Settings, load
from serving.simulator.control import Control
from serving.simulator.journal import Journal
from serving.simulator.server import Listener
from serving.simulator.tier import RunningTier
from serving.simulator.upstream import Upstream

_GRADED = 1_000
TIERS = Path(__file__).with_name("tiers.toml")


def main() -> int:
    """Exit status: 0 when told to end, 2 for a configuration that is none or a port that is taken."""
    parser = argparse.ArgumentParser(prog="python -m serving.simulator", description=__doc__)
    parser.add_argument("--config", type=Path, default=TIERS, help="TOML file with the tiers; the packaged one without")
    parser.add_argument("--canned", type=int, metavar="PORT", help="no tiers: fixed bytes at full speed on this port")
    parser.add_argument("--prompts", type=int, metavar="COUNT", help="no server: print labelled prompts, a line each")
    parser.add_argument("--questions", type=int, metavar="COUNT", help="no server: the same for closed questions")
    parser.add_argument("--pairs", type=Path, metavar="CSV", help="no server: the same for labelled pairs of a file")
    parser.add_argument(
        "--tier", action="append", default=[], metavar="NAME=COLUMN", help="whose answers are right there"
    )
    parser.add_argument(
        "--graded",
        action="append",
        default=[],
        metavar="NAME=TIER",
        help="with --questions: labelled pairs as CSV instead",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the prompts")
    asked = parser.parse_args()
    try:
        if asked.graded:
            made = questions.questions(asked.questions or _GRADED, seed=asked.seed)
            labelled.write_pairs(sys.stdout, made, tiers=load(asked.config).tiers, named=asked.graded)
            return 0
        if (labels := _printed(asked)) is not None:
            sys.stdout.writelines(msgspec.json.encode(label).decode() + "\n" for label in labels)
            return 0
        uvloop.run(_canned(asked.canned) if asked.canned is not None else _fleet(load(asked.config)))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


def _printed(asked: argparse.Namespace) -> list[Label] | None:
    """Labels that were asked for instead of a server."""
    if asked.prompts is not None:
        return answering.prompts(asked.prompts, seed=asked.seed)
    if asked.questions is not None:
        return questions.labels(questions.questions(asked.questions, seed=asked.seed))
    return labelled.read(asked.pairs, asked.tier) if asked.pairs is not None else None


async def _fleet(settings: Settings) -> None:
    journal = Journal(settings.journal)
    labels = _labels(settings.labels)
    control = Control()
    for tier in settings.tiers:
        running = RunningTier(tier, labels, seed=settings.seed)
        listener = Listener(Upstream(running, journal), tier.port)
        await listener.open()
        control.add(running, listener)
    controls = Listener(control, settings.control_port)
    await controls.open()
    models = {tier.name: tier.models for tier in settings.tiers}
    _say({"control": controls.port, "tiers": control.ports(), "models": models})
    await _told_to_end()
    journal.close()


async def _canned(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port, backlog=4096)
    _say({"canned": server.sockets[0].getsockname()[1]})
    await _told_to_end()


def _labels(path: str | None) -> dict[str, Label]:
    if path is None:
        return {}
    labels = [msgspec.json.decode(line, type=Label) for line in Path(path).read_bytes().splitlines() if line]
    return {label.prompt: label for label in labels}


def _say(ports: dict[str, object]) -> None:
    sys.stdout.write(msgspec.json.encode(ports).decode() + "\n")
    sys.stdout.flush()


async def _told_to_end() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":
    sys.exit(main())
