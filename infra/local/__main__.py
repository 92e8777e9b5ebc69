"""`python -m infra.local up|airflow|down|status|pids|logs|stop|restart|upgrade|backup|restore|env`: the local stack."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.local.backup import KEPT, NotBackedUp, backup, bases
from infra.local.machine import Missing
from infra.local.place import layout_of
from infra.local.preparation import PreparationFailed
from infra.local.reading_on import reading_on
from infra.local.restore import NotRestored, restore
from infra.local.savepoint import NotTaken
from infra.local.stack import NotReady, Stack, last_lines

if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 not so, 2 misused."""
    options = _parser().parse_args(arguments)
    layout = layout_of(options.root)
    stack = Stack(layout, lambda line: print(line, flush=True))
    try:
        return _COMMANDS[options.command](stack, options)
    except (
        *(Missing, PreparationFailed, NotReady, NotTaken, NotBackedUp, NotRestored, TimeoutError, ValueError),
    ) as failure:
        print(failure, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument(
        "--root",
        default=os.environ.get("TOKENLEDGER_STACK_ROOT"),
        help="the stack's folder (default: $TOKENLEDGER_STACK_ROOT, else .local/stack)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what does not run; returns when all is ready")
    up.add_argument("names", nargs="*", metavar="NAME", help="only these programs")
    commands.add_parser("airflow", help="start Airflow beside the running stack")
    commands.add_parser("down", help="stop everything gracefully")
    commands.add_parser("status", help="one line a program; exit status 1 if one is not ready")
    commands.add_parser("pids", help="name and pid of every running program")
    logs = commands.add_parser("logs", help="the last lines of the logs")
    logs.add_argument("name", nargs="?", metavar="NAME")
    stop = commands.add_parser("stop", help="stop these programs and no other; `up` starts them again")
    stop.add_argument("names", nargs="+", metavar="NAME")
    restart = commands.add_parser("restart", help="stop one program and start it again")
    restart.add_argument("name", metavar="NAME")
    upgrade = commands.add_parser("upgrade", help="stop a job with a savepoint, go on from it with the code on disk")
    upgrade.add_argument("name", metavar="NAME")
    keep = commands.add_parser("backup", help="copy the ledger's database; from then on its log is archived")
    keep.add_argument("--keep", type=int, default=KEPT, metavar="N", help=f"copies to keep (default: {KEPT})")
    back = commands.add_parser("restore", help="the ledger's database as it was; the writer reads on from there")
    back.add_argument("--to", type=_instant, metavar="TIME", help="2026-11-21T20:00:00Z (default: the newest)")
    commands.add_parser("env", help="settings for clients of this stack, as shell exports")
    return parser


def _up(stack: Stack, options: argparse.Namespace) -> int:
    stack.up(tuple(options.names))
    return 0


def _airflow(stack: Stack, _: argparse.Namespace) -> int:
    stack.airflow()
    return 0


def _down(stack: Stack, _: argparse.Namespace) -> int:
    stack.down()
    return 0


def _status(stack: Stack, _: argparse.Namespace) -> int:
    if not stack.supervision.alive():
        print("the stack is down; `make up` starts it")
        return 1
    all_ready = True
    on_request = {program.name for program in stack.programs() if program.on_request}
    unawaited = {program.name for program in stack.programs() if not program.awaited}
    for process in stack.supervision.processes():
        if process.name in on_request and process.state == "STOPPED":
            continue
        is_ready = stack.ready(process.name)
        all_ready &= is_ready or process.name in unawaited
        for_s = int(time.time()) - process.started_at_s if process.pid else 0
        state = "ready" if is_ready else f"NOT READY ({process.state})"
        print(f"{process.name:<13} {state:<22} pid {process.pid:<8} for {for_s} s")
        if not is_ready:
            print(stack.failure(process.name), end="")
    return 0 if all_ready else 1


def _pids(stack: Stack, _: argparse.Namespace) -> int:
    for process in stack.supervision.processes():
        if process.pid:
            print(process.name, process.pid)
    return 0


def _logs(stack: Stack, options: argparse.Namespace) -> int:
    paths = sorted(stack.layout.logs.glob(f"{options.name or '*'}.log"))
    if not paths:
        print(f"no log {options.name or ''} in {stack.layout.logs}", file=sys.stderr)
        return 1
    for path in paths:
        print(f"==> {path}\n{last_lines(path, 200 if options.name else 10)}")
        print(stack.failure(path.stem), end="")
    return 0


def _stop(stack: Stack, options: argparse.Namespace) -> int:
    stack.stop(tuple(options.names))
    return 0


def _restart(stack: Stack, options: argparse.Namespace) -> int:
    stack.restart(options.name)
    return 0


def _upgrade(stack: Stack, options: argparse.Namespace) -> int:
    stack.upgrade(options.name)
    return 0


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _backup(stack: Stack, options: argparse.Namespace) -> int:
    print(f"backup        {backup(stack.layout, keep=options.keep)}")
    print(f"backup        any instant since {min(bases(stack.layout)).isoformat(sep=' ')} can be had")
    return 0


def _restore(stack: Stack, options: argparse.Namespace) -> int:
    done = restore(stack, options.to)
    print(f"restored      up to its commit of {done.last_commit or 'the copy'}")
    if done.replaced:
        print(f"replaced      {done.replaced} holds what was there; remove it when all is well")
    for line in reading_on(stack.layout):
        print(line)
    return 0


def _env(stack: Stack, _: argparse.Namespace) -> int:
    for name, value in stack.layout.client_environment().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


_COMMANDS: dict[str, Callable[[Stack, argparse.Namespace], int]] = {
    "up": _up,
    "airflow": _airflow,
    "down": _down,
    "status": _status,
    "pids": _pids,
    "logs": _logs,
    "stop": _stop,
    "restart": _restart,
    "upgrade": _upgrade,
    "backup": _backup,
    "restore": _restore,
    "env": _env,
}

if __name__ == "__main__":
    sys.exit(main())
