"""`tokenledger …`: finds the command, and turns its result into an exit status."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

EXIT_DONE: Final = 0
EXIT_SOME_REJECTED: Final = 1
EXIT_FAILED: Final = 2
_EXIT_INTERRUPTED: Final = 130

COMMANDS: Final = {
    "price": ("tokenledger.commands.price", "price log files: a cost table with no server"),
    "explain": ("tokenledger.commands.explain", "how one call's cost came about, line by line"),
    "models": ("tokenledger.commands.models", "the price list, with dates"),
    "prices": ("tokenledger.commands.prices", "the ledger's price book: import, add, correct, end, undo, history"),
    "tenants": ("tokenledger.commands.tenants", "time zone, charge policy, consent and status of tenants"),
    "samples": ("tokenledger.commands.samples", "fetch real recorded provider traffic to try things on"),
    "send": ("tokenledger.commands.send", "send log files into the stream"),
    "costs": ("tokenledger.commands.costs", "the cost table, from the ledger"),
    "datasets": ("tokenledger.commands.datasets", "fine-tuning, evaluation and router datasets from captured calls"),
    "score": ("tokenledger.commands.score", "check every captured answer, and ask a judge about some"),
    "drift": ("tokenledger.commands.drift", "whether prompts, answers, latency or tiers have moved"),
    "retrain": ("tokenledger.commands.retrain", "train the router anew, judge it on golden pairs, promote it"),
    "router": ("tokenledger.commands.router", "train, judge and promote the router that picks a model tier"),
    "reconcile": ("tokenledger.commands.reconcile", "compare a provider's bill with the ledger, to the pico-dollar"),
    "periods": ("tokenledger.commands.periods", "close accounting months, and see what came after the close"),
    "adjust": ("tokenledger.commands.adjust", "credits and charges that no call made: propose, approve, list"),
    "reprice": ("tokenledger.commands.reprice", "charge calls in the ledger by today's price book"),
    "reread": ("tokenledger.commands.reread", "read calls in the ledger again once a misreading was mended"),
    "verify": ("tokenledger.commands.verify", "prove that the ledger holds every record once and its sums agree"),
    "backfill": ("tokenledger.commands.backfill", "judge a range of raw records again, and send what has no outcome"),
    "lake": ("tokenledger.commands.lake", "manifests of the lake, compaction, retention, erasure"),
    "retention": ("tokenledger.commands.retention", "drop old months of the books; calls and roll-ups stay"),
    "replay": ("tokenledger.commands.replay", "rebuild a ledger from the log and compare it with the original"),
    "rejected": ("tokenledger.commands.rejected", "list, look at and replay what could not be understood"),
    "alerts": ("tokenledger.commands.alerts", "what is wrong at present, and what was"),
    "sources": ("tokenledger.commands.sources", "who sends records, who fell silent, which records never arrived"),
    "keys": ("tokenledger.commands.keys", "make, list and revoke keys of the gateway"),
    "budgets": ("tokenledger.commands.budgets", "set, list and remove what tenants may spend by the gateway"),
    "cache": ("tokenledger.commands.cache", "what the gateway's cache holds, how often it is wrong; forget answers"),
}
"""Command → the module that does it, imported only when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = given[0] if given and given[0] in COMMANDS else None
    try:
        parser = _parser(wanted)
        options = parser.parse_args(given)
        if wanted is None:
            parser.print_help()
            return EXIT_FAILED
        return int(options.run(options))
    except ModuleNotFoundError as missing:
        needs = f"tokenledger {wanted} needs the package {missing.name}"
        print(f"{needs}: run it as `uv run tokenledger` in a checkout, after `make setup`", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"tokenledger {wanted}: {error}", file=sys.stderr)
        return EXIT_FAILED


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tokenledger", description="Exact costs of LLM calls, from log files or from the stream's ledger."
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        if name != wanted:
            commands.add_parser(name, help=summary, add_help=False)
            continue
        command = import_module(module)
        described = commands.add_parser(
            name, help=summary, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(described)
        described.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
