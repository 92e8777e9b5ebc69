"""Datasets from captured calls: fine-tuning chats and preference pairs, evaluation sets, pairs for the router.

  tokenledger datasets build support.toml --since 2026-11-01 --until 2026-12-01
  tokenledger datasets list
  tokenledger datasets show support
  tokenledger datasets diff support@4f1c support@9e02
  tokenledger datasets verify
  tokenledger datasets erase --tenant acme --user-hash 9b1f…

A version is immutable; the same recipe over the same calls is the same version, byte for byte. docs/datasets.md.

exit status: 0 done, or it was done before; 1 verify: a version is damaged; 2 it could not be done;
3 build: nothing is left to make a dataset of. The last line of `build` is NAME@VERSION; with --json, one JSON object.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from dags import io
from dags.core.manifest import Manifest
from dags.core.recipe import recipe
from dags.edges import building, erasing, golden, versions
from dags.edges import scores as stored
from dags.edges.building import Places
from dags.edges.erasures import Erasure
from dags.edges.golden import Review
from dags.edges.lineage_out import told
from tokenledger.commands.places import place
from tokenledger.commands.stack import environment

_DONE: Final = 0
_DAMAGED: Final = 1
_NOTHING: Final = 3
_PLAIN_WIDTH: Final = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger datasets` takes."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser("build", help="make the version a recipe gives now")
    build.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    _takes_datasets(build)
    build.add_argument("--lake", type=Path, default=place("lake"), metavar="DIR", help="default: lake of the stack")
    build.add_argument(
        "--scores", type=Path, default=place("scores"), metavar="DIR", help="default: scores of the stack"
    )
    build.add_argument("--since", metavar="TIME", help="calls from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    build.add_argument("--until", metavar="TIME", help="calls before then")
    build.add_argument("--memory", default="1GB", metavar="SIZE", help="sort in so much (default: 1GB)")
    _takes_lineage(build)
    build.set_defaults(act=_build)
    listed = actions.add_parser("list", help="every version")
    _takes_datasets(listed)
    listed.set_defaults(act=_list)
    show = actions.add_parser("show", help="the card of a version")
    show.add_argument("version", metavar="NAME[@VERSION]")
    _takes_datasets(show)
    show.set_defaults(act=_show)
    diff = actions.add_parser("diff", help="rows that came, went, and changed sides")
    diff.add_argument("before", metavar="NAME[@VERSION]")
    diff.add_argument("after", metavar="NAME[@VERSION]")
    _takes_datasets(diff)
    diff.set_defaults(act=_diff)
    verify = actions.add_parser("verify", help="hash every file again; all versions without a name")
    verify.add_argument("versions", metavar="NAME[@VERSION]", nargs="*")
    _takes_datasets(verify)
    verify.set_defaults(act=_verify)
    _add_golden(actions.add_parser("golden", help="let reviewed rows into a set that only grows"))
    erase = actions.add_parser("erase", help="take a user's rows out of every version")
    _takes_datasets(erase)
    erase.add_argument("--tenant", required=True, help="the user's tenant")
    erase.add_argument("--user-hash", required=True, metavar="HASH", help="keyed hash of the user, as in the lake")
    erase.add_argument(
        "--scores",
        type=Path,
        default=place("scores"),
        metavar="DIR",
        help="theirs go too; default: scores of the stack",
    )
    _takes_lineage(erase)
    erase.set_defaults(act=_erase)


def _add_golden(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the set, such as golden or regressions")
    parser.add_argument("--from", dest="source", required=True, metavar="NAME[@VERSION]", help="where the rows are")
    parser.add_argument("--row", action="append", default=[], metavar="ID", help="a row of its index.jsonl")
    parser.add_argument("--all", action="store_true", help="all of its rows")
    parser.add_argument("--by", required=True, metavar="NAME", help="who reviewed them")
    parser.add_argument("--why", required=True, metavar="TEXT", help="for what reason they are in")
    parser.add_argument("--answer", metavar="TEXT", help="the right answer, where one row is given")
    _takes_datasets(parser)
    _takes_lineage(parser)
    parser.set_defaults(act=_golden)


def _takes_lineage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lineage",
        metavar="FILE|URL",
        help="tell OpenLineage events there (default: $TOKENLEDGER_LINEAGE, else nobody)",
    )


def _takes_datasets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--datasets", type=Path, default=place("datasets"), metavar="DIR", help="default: datasets of the stack"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    done: int = options.act(options)
    return done


def _build(options: argparse.Namespace) -> int:
    wanted = recipe(options.recipe.read_text(encoding="utf-8"), where=str(options.recipe))
    window = io.Window(
        since_us=io.instant_us(options.since) if options.since else None,
        until_us=io.instant_us(options.until) if options.until else None,
    )
    places = Places(lake=options.lake, datasets=options.datasets, scores=options.scores)
    with told(
        "datasets.build", wanted.name, lake=places.lake, datasets=places.datasets, to=_lineage(options)
    ) as outcome:
        built = building.build(wanted, places, window=window, memory=options.memory)
        outcome.manifest = built.manifest
    for name, count in sorted(built.counts.items()):
        print(f"{count:>12,}  {name}")
    if built.manifest is None:
        print(f"tokenledger datasets: nothing is left to make {wanted.name} of; see the counts above", file=sys.stderr)
        _end(options, {"version": None, "new": False, "rows": 0}, said=None)
        return _NOTHING
    print(f"{'built' if built.new else 'was there'}: {versions.folder(options.datasets, built.manifest)}")
    _end(options, _facts(built.manifest) | {"new": built.new}, said=built.manifest.id)
    return _DONE


def _end(options: argparse.Namespace, facts: dict[str, Any], *, said: str | None) -> None:
    if options.json:
        print(msgspec.json.encode(facts).decode())
    elif said is not None:
        print(said)


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": manifest.id,
        "kind": manifest.kind,
        "rows": manifest.rows,
        "files": {file.path: file.sha256 for file in manifest.files},
    }


def _list(options: argparse.Namespace) -> int:
    found = [
        versions.load(options.datasets, f"{name}@{version}")
        for name in versions.names(options.datasets)
        for version in versions.versions(options.datasets, name)
    ]
    table = Table("version", "kind", "rows", "bytes", "calls", "latest", box=None)
    for one in found:
        latest = versions.resolve(options.datasets, one.name)[1] == one.version
        calls = "" if one.source is None else f"{one.source.calls:,}"
        size_bytes = sum(file.size_bytes for file in one.files)
        table.add_row(one.id, one.kind, f"{one.rows:,}", f"{size_bytes:,}", calls, "yes" if latest else "")
    _console().print(table)
    if options.json:
        print(msgspec.json.encode([_facts(one) for one in found]).decode())
    return _DONE


def _show(options: argparse.Namespace) -> int:
    manifest = versions.load(options.datasets, options.version)
    place = versions.folder(options.datasets, manifest)
    print((place / versions.CARD).read_text(encoding="utf-8"), end="")
    if options.json:
        print(msgspec.json.encode(manifest).decode())
    return _DONE


def _diff(options: argparse.Namespace) -> int:
    pair = [versions.load(options.datasets, given) for given in (options.before, options.after)]
    before, after = ({row["row_id"]: row["file"] for row in versions.index(options.datasets, one)} for one in pair)
    moved = sum(before[row] != after[row] for row in before.keys() & after.keys())
    facts = {
        "before": pair[0].id,
        "after": pair[1].id,
        "came": len(after.keys() - before.keys()),
        "went": len(before.keys() - after.keys()),
        "stayed": len(before.keys() & after.keys()),
        "changed_sides": moved,
    }
    for name, value in facts.items():
        print(f"{name:14} {value}")
    if pair[0].recipe != pair[1].recipe:
        print("their recipes differ")
    if options.json:
        print(msgspec.json.encode(facts).decode())
    return _DONE


def _verify(options: argparse.Namespace) -> int:
    wanted = options.versions or [
        f"{name}@{version}"
        for name in versions.names(options.datasets)
        for version in versions.versions(options.datasets, name)
    ]
    found = [versions.load(options.datasets, given) for given in wanted]
    damage = [line for one in found for line in versions.damage(options.datasets, one)]
    for line in damage:
        print(line)
    print(f"{len(found)} versions, {sum(one.rows for one in found):,} rows, {len(damage)} differences")
    if options.json:
        print(msgspec.json.encode({"versions": [one.id for one in found], "damage": damage}).decode())
    return _DAMAGED if damage else _DONE


def _lineage(options: argparse.Namespace) -> str | None:
    found: str | None = options.lineage or environment().get("TOKENLEDGER_LINEAGE")
    return found


def _golden(options: argparse.Namespace) -> int:
    source = versions.load(options.datasets, options.source)
    rows = tuple(options.row) or tuple(row["row_id"] for row in versions.index(options.datasets, source))
    if bool(options.row) == options.all:
        raise ValueError("name the rows, --row ID …, or take --all of them")
    if options.answer is not None and len(rows) != 1:
        raise ValueError(f"--answer is for one row; {len(rows)} are named")
    answer = None if options.answer is None else {"role": "assistant", "content": options.answer}
    review = Review(by=options.by, why=options.why, rows=rows, source=source.id, reference=answer)
    with told("datasets.golden", options.name, lake=Path(), datasets=options.datasets, to=_lineage(options)) as outcome:
        outcome.manifest, new = golden.add(options.datasets, options.name, review=review)
        manifest = outcome.manifest
    print(f"{manifest.rows} rows{'' if new else ', all were in'}: {versions.folder(options.datasets, manifest)}")
    _end(options, _facts(manifest) | {"new": new}, said=manifest.id)
    return _DONE


def _erase(options: argparse.Namespace) -> int:
    erasure = Erasure(tenant_id=options.tenant, user_hash=options.user_hash)
    with told("datasets.erase", "all", lake=Path(), datasets=options.datasets, to=_lineage(options)):
        found = erasing.erase(options.datasets, erasure)
    scores = stored.forget(options.scores, [(erasure.tenant_id, erasure.user_hash)])
    for one in found:
        print(f"{one.rows:>8,} rows  {one.before}  now {one.after or 'gone: nothing was left'}")
    rows = sum(one.rows for one in found)
    print(f"{rows:,} rows of {len(found)} versions, {scores:,} scores; no build reads them again")
    if options.json:
        print(msgspec.json.encode({"versions": found, "scores": scores}).decode())
    return _DONE


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
