"""The router's next version: trained on pairs, judged on golden pairs beside the one that serves, registered.
Promoting it is somebody's step of its own, and is logged.

  tokenledger retrain run --pairs router-pairs --golden golden.csv --tier small --tier large
  tokenledger retrain list
  tokenledger retrain promote VERSION --by NAME --why "fewer escalations in chat"

Pairs are a dataset of kind `router_pairs`, or a CSV file. docs/drift.md.

exit status: 0 done: it may be promoted, or is; 2 it could not be done; 3 it may not. The last line of `run` is the
version; with --json, one JSON object.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from dags.core.candidacy import Candidacy, Judged, verdict
from dags.core.made import PAIR
from dags.edges import versions as datasets
from dags.edges import workshop
from dags.edges.building import file_of
from serving.router import evaluation, pairs, training, versions
from serving.router.evaluation import Terms
from serving.router.model import Model
from serving.router.pairs import Columns, Pair
from tokenledger.commands.places import place

_DONE: Final = 0
_UNFIT: Final = 3
"""Not 1: that is how Python ends when something is broken, which no DAG may take for a verdict."""
_CANDIDATES: Final = "candidates"
_PROMOTIONS: Final = "promotions.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger retrain` takes."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run_ = actions.add_parser("run", help="train, judge, register")
    _takes_models(run_)
    add = run_.add_argument
    add("--pairs", required=True, metavar="NAME[@VERSION]|FILE.csv", help="what to train on")
    add(
        "--golden",
        required=True,
        metavar="NAME[@VERSION]|FILE.csv",
        help="what to judge on; its prompts are not trained on",
    )
    add("--tier", action="append", default=[], metavar="NAME", help="a tier, the strongest last; a column of its name")
    add("--datasets", type=Path, default=place("datasets"), metavar="DIR", help="default: datasets of the stack")
    add("--cost-ratio", type=float, default=0.1, help="price of the first tier ÷ the last (default: 0.1)")
    add("--draws", type=int, default=1000, help="bootstrap draws (default: 1000)")
    run_.set_defaults(act=_run)
    listed = actions.add_parser("list", help="the candidates")
    _takes_models(listed)
    listed.set_defaults(act=_list)
    promote = actions.add_parser("promote", help="let a candidate serve")
    promote.add_argument("version", metavar="VERSION")
    promote.add_argument("--by", required=True, metavar="NAME", help="who decided")
    promote.add_argument("--why", required=True, metavar="TEXT", help="for what reason")
    promote.add_argument("--unfit", action="store_true", help="although it was judged unfit")
    _takes_models(promote)
    promote.set_defaults(act=_promote)


def _takes_models(parser: argparse.ArgumentParser) -> None:
    of_stack = place("models") / "router"
    parser.add_argument(
        "--models", type=Path, default=of_stack, metavar="DIR", help="default: models/router of the stack"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    done: int = options.act(options)
    return done


def _run(options: argparse.Namespace) -> int:
    tiers = tuple(options.tier)
    terms = Terms(tiers=tiers, cost_ratio=options.cost_ratio, draws=options.draws)
    (named, found), (golden_named, golden) = (_pairs(options, given) for given in (options.pairs, options.golden))
    held_out = {pair.prompt.text for pair in golden}
    kept = [pair for pair in found if pair.prompt.text not in held_out]
    model = training.train(evaluation.seen(kept), pairs.qualities(kept), tiers=tiers, plan=terms.plan)
    report = evaluation.transfer(model, golden, terms=terms)
    versions.save(options.models, model, evaluation.plain(report))
    candidate, current = _judged(model, report), _current(options.models, golden, terms=terms)
    fit, why = verdict(candidate, current, golden_pairs=len(golden), golden_gap_low=report.gap_low)
    candidacy = Candidacy(
        candidate=candidate,
        current=current,
        pairs=named,
        golden=golden_named,
        golden_pairs=len(golden),
        golden_gap_low=report.gap_low,
        fit=fit,
        why=why,
    )
    _register(options.models, candidacy)
    print(f"trained on {len(kept):,} pairs, judged on {len(golden):,}: {why}")
    print(msgspec.json.encode(candidacy).decode() if options.json else model.version)
    return _DONE if fit else _UNFIT


def _pairs(options: argparse.Namespace, given: str) -> tuple[str, list[Pair]]:
    """(what it is called, the pairs) of a file or a dataset."""
    if len(options.tier) < 2:  # noqa: PLR2004  (a choice needs two)
        raise ValueError("name the tiers: --tier small --tier large, the strongest last")
    columns = Columns(tiers={tier: tier for tier in options.tier})
    if Path(given).suffix == ".csv":
        return Path(given).name, pairs.read([Path(given)], columns)
    manifest = datasets.load(options.datasets, given)
    if manifest.kind != "router_pairs":
        raise ValueError(f"{manifest.id} is of kind {manifest.kind}; name a dataset of kind router_pairs")
    return manifest.id, pairs.read([datasets.folder(options.datasets, manifest) / file_of(PAIR, "")], columns)


def _current(models: Path, golden: list[Pair], *, terms: Terms) -> Judged | None:
    """The router that serves, on the same golden pairs."""
    serving = versions.promoted(models)
    if serving is None:
        return None
    model = versions.load(models, serving)
    if model.card.tiers != terms.tiers:
        raise ValueError(f"{serving} serves tiers {', '.join(model.card.tiers)}; name the same, in that order")
    return _judged(model, evaluation.transfer(model, golden, terms=terms))


def _judged(model: Model, report: evaluation.Report) -> Judged:
    line = next(one for one in report.lines if one.name == evaluation.ROUTER)
    low, _ = line.intervals["apgr"]
    return Judged(version=model.version, apgr=line.curve.apgr, low=low, calibration_error=report.gain_error)


def _register(models: Path, candidacy: Candidacy) -> None:
    path = models / _CANDIDATES / f"{candidacy.candidate.version}.json"
    workshop.replace(path, msgspec.json.format(msgspec.json.encode(candidacy)) + b"\n")


def _candidacy(models: Path, version: str) -> Candidacy:
    path = models / _CANDIDATES / f"{version}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Candidacy)
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in path.parent.glob("*.json"))) or "none"
        raise ValueError(f"{version} is no candidate; candidates are: {known}") from None


def _list(options: argparse.Namespace) -> int:
    found = [_candidacy(options.models, path.stem) for path in sorted((options.models / _CANDIDATES).glob("*.json"))]
    serving = versions.promoted(options.models)
    table = Table("version", "serves", "APGR", "from", "pairs", "golden", "may be promoted", box=None)
    for one in found:
        judged = one.candidate
        mark = "yes" if judged.version == serving else ""
        figures = (f"{judged.apgr:.3f}", f"{judged.low:.3f}")
        table.add_row(judged.version, mark, *figures, one.pairs, one.golden, "yes" if one.fit else f"no: {one.why}")
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    if options.json:
        print(msgspec.json.encode(found).decode())
    return _DONE


def _promote(options: argparse.Namespace) -> int:
    candidacy = _candidacy(options.models, options.version)
    if not candidacy.fit and not options.unfit:
        print(f"{options.version} may not be promoted: {candidacy.why}; --unfit does it all the same", file=sys.stderr)
        return _UNFIT
    before = versions.promoted(options.models)
    if before == options.version:
        print(f"{options.version} serves already")
        return _DONE
    entry = {
        "at_us": time.time_ns() // 1_000,
        "by": options.by,
        "why": options.why,
        "version": options.version,
        "before": before,
        "judged_fit": candidacy.fit,
        "verdict": candidacy.why,
    }
    _log(options.models, entry)
    versions.promote(options.models, options.version)
    print(f"{options.version}  serves from now on, before it {before or 'none'}")
    return _DONE


def _log(models: Path, entry: dict[str, Any]) -> None:
    """Before it serves: a promotion that is not in the log did not happen."""
    with (models / _PROMOTIONS).open("ab") as file:
        file.write(msgspec.json.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())
