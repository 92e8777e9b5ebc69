"""The router that picks a model tier: train it on labelled pairs, see what it is worth, promote a version.

  tokenledger router evaluate pairs.csv --tier small=small_ok --tier large=large_ok
  tokenledger router train    pairs.csv --tier small=small_ok --tier large=large_ok
  tokenledger router promote VERSION
  tokenledger router list
  tokenledger router judge --policy other.toml

A labelled pair is a line of a CSV file: a prompt, and per tier how good its answer was (0 to 1, or true and false).

exit status: 0 done; 2 files or options cannot be used.
"""

import argparse
import statistics
from pathlib import Path
from typing import Final

import msgspec
from rich.table import Table

from serving.router import evaluation, pairs, training, versions
from serving.router.evaluation import Line, Report, Terms
from serving.router.pairs import Columns, Pair
from tokenledger.commands import router_judge
from tokenledger.commands.places import place
from tokenledger.commands.router_tables import console, percent

_DONE: Final = 0
_FIGURES: Final = ("apgr", "cpt50", "cpt80", "saved_at_95", "saved_at_99", "saved_at_100")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger router` takes."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    train = actions.add_parser("train", help="train and store a version, with its report")
    _takes_pairs(train)
    _takes_models(train)
    train.add_argument("--promote", action="store_true", help="let it serve at once")
    train.set_defaults(act=_train)
    judge = actions.add_parser("evaluate", help="what a router is worth on pairs, beside baselines")
    _takes_pairs(judge)
    _takes_models(judge)
    judge.add_argument("--version", help="judge this version (trained on other pairs) instead of folds of these")
    judge.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    judge.set_defaults(act=_evaluate)
    promote = actions.add_parser("promote", help="let a version serve")
    promote.add_argument("version", metavar="VERSION")
    _takes_models(promote)
    promote.set_defaults(act=_promote)
    listed = actions.add_parser("list", help="the versions")
    _takes_models(listed)
    listed.set_defaults(act=_list)
    other = actions.add_parser("judge", help="what another policy would have been worth, by logged decisions")
    router_judge.add_arguments(other)
    other.set_defaults(act=router_judge.run)


def _takes_models(parser: argparse.ArgumentParser) -> None:
    of_stack = place("models") / "router"
    parser.add_argument(
        "--models", type=Path, default=of_stack, metavar="DIR", help="default: models/router of the stack"
    )


def _takes_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="CSV files, or folders of them")
    parser.add_argument(
        "--tier", action="append", default=[], metavar="NAME=COLUMN", help="a tier's quality; the strongest last"
    )
    parser.add_argument("--prompt", default="prompt", metavar="COLUMN", help="default: prompt")
    parser.add_argument("--group", metavar="COLUMN", help="data set of the prompt (default: the file's name)")
    parser.add_argument("--leave-out", type=Path, metavar="FILE", help="JSON Lines of prompts not to use")
    parser.add_argument(
        "--cost-ratio", type=float, default=0.1, help="price of the first tier ÷ the last (default: 0.1)"
    )
    parser.add_argument("--ridge", type=float, default=training.Plan().ridge, help="default: %(default)s")
    parser.add_argument("--folds", type=int, default=5, help="default: 5")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws (default: 1000)")
    parser.add_argument(
        "--shuffles", type=int, default=0, help="other divisions into folds to try as well (default: 0)"
    )


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    done: int = options.act(options)
    return done


def _read(options: argparse.Namespace) -> tuple[list[Pair], Terms]:
    tiers = dict(_tier(text) for text in options.tier)
    found = pairs.read(options.files, Columns(tiers=tiers, prompt=options.prompt, group=options.group))
    unwanted = pairs.left_out(options.leave_out) if options.leave_out else frozenset[str]()
    terms = Terms(
        tiers=tuple(tiers),
        plan=training.Plan(ridge=options.ridge),
        folds=options.folds,
        cost_ratio=options.cost_ratio,
        draws=options.draws,
        shuffles=options.shuffles,
    )
    return [pair for pair in found if pair.prompt.text not in unwanted], terms


def _tier(text: str) -> tuple[str, str]:
    name, _, column = text.partition("=")
    if not name or not column:
        raise ValueError(f"--tier {text!r}: write NAME=COLUMN, such as --tier small=small_ok")
    return name, column


def _train(options: argparse.Namespace) -> int:
    found, terms = _read(options)
    report = evaluation.evaluate(found, terms)
    features = evaluation.seen(found)
    model = training.train(features, pairs.qualities(found), tiers=terms.tiers, plan=terms.plan)
    place = versions.save(options.models, model, evaluation.plain(report))
    _print(report)
    print(f"{model.version}  stored in {place}")
    if options.promote:
        versions.promote(options.models, model.version)
        print(f"{model.version}  serves from now on")
    return _DONE


def _evaluate(options: argparse.Namespace) -> int:
    found, terms = _read(options)
    if options.version:
        model = versions.load(options.models, options.version)
        report = evaluation.transfer(model, found, terms=terms)
    else:
        report = evaluation.evaluate(found, terms)
    _print(report)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(evaluation.plain(report))) + b"\n")
    return _DONE


def _promote(options: argparse.Namespace) -> int:
    versions.promote(options.models, options.version)
    print(f"{options.version}  serves from now on")
    return _DONE


def _list(options: argparse.Namespace) -> int:
    serving = versions.promoted(options.models)
    table = Table("version", "serves", "pairs", "tiers", "APGR", "95 % interval", box=None)
    for version in versions.versions(options.models):
        card, told = versions.load(options.models, version).card, versions.report(options.models, version)
        line = told["lines"][0]
        low, high = line["intervals"]["apgr"]
        mark = "yes" if version == serving else ""
        area = f"{line['curve']['apgr']:.3f}"
        table.add_row(version, mark, f"{card.pairs:,}", " < ".join(card.tiers), area, f"{low:.3f} - {high:.3f}")
    console().print(table)
    return _DONE


# What is printed


def _print(report: Report) -> None:
    out = console()
    out.print(
        f"{report.pairs:,} pairs, mean quality {report.weak_quality:.3f} and {report.strong_quality:.3f}, "
        f"a weak call costs {report.cost_ratio:g} of a strong one"
    )
    table = Table(
        "", "APGR", "95 % interval", "CPT50", "CPT80", "saved at 95 %", "99 %", "100 %", "router ahead", box=None
    )
    for line in report.lines:
        table.add_row(*_row(line))
    out.print(table)
    if report.shuffled:
        mean, spread = statistics.fmean(report.shuffled), statistics.pstdev(report.shuffled)
        out.print(f"APGR over {len(report.shuffled)} other divisions: {mean:.3f}, standard deviation {spread:.3f}")
    floors = Table("quality floor", "to the strongest", "gap recovered", "quality", "saved", box=None)
    for one in report.settings:
        floors.add_row(
            f"{one.quality_floor:.2f}",
            *map(percent, (one.strong_share, one.recovered)),
            f"{one.quality:.3f}",
            percent(one.saved),
        )
    out.print(floors)
    stable = ", ".join(f"{edit} {percent(share)}" for edit, share in report.stable.items())
    out.print(f"calibration error: gain {report.gain_error:.3f}, worse {report.worse_error:.3f}")
    out.print(f"unlike the training prompts: {percent(report.far_share)}")
    out.print(f"same side of the median after an edit: {stable}")


def _row(line: Line) -> list[str]:
    low, high = line.intervals["apgr"]
    first, *others = (getattr(line.curve, figure) for figure in _FIGURES)
    ahead = "" if line.name == evaluation.ROUTER else f"{percent(line.ahead)} of draws"
    return [line.name, f"{first:.3f}", f"{low:.3f} - {high:.3f}", *map(percent, others), ahead]
