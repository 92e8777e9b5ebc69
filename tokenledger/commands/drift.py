"""Drift of prompts, answers, latency and tiers against a stored reference, per tenant and feature.

  tokenledger drift reference --since 2026-11-01 --until 2026-11-08
  tokenledger drift report    --since 2026-11-20 --until 2026-11-21
  tokenledger drift alert

A column has moved when its PSI, beyond what chance gives, reaches the threshold; what every one of the newest N reports
calls moved is an alert. docs/drift.md.

exit status: 0 done; alert: there is one; 2 it could not be done; 3 report, reference: no calls in that time; alert: no.
The last line is the reference, the run or the alert; with --json, one JSON object.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from dags import io
from dags.core.findings import Finding, Terms
from dags.edges import drifting
from dags.edges.drifting import Asked
from dags.edges.embedded import Embed
from tokenledger.commands.places import place

_DONE: Final = 0
_NOTHING: Final = 3
_SHOWN: Final = 20
_PLAIN_WIDTH: Final = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger drift` takes."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    base = actions.add_parser("reference", help="store what later windows are compared with")
    _takes_places(base)
    _takes_window(base)
    _takes_embeddings(base)
    base.set_defaults(act=_reference)
    report = actions.add_parser("report", help="compare a window with the reference")
    _takes_places(report)
    _takes_window(report)
    usual = Terms()
    add = report.add_argument
    add("--threshold", type=float, default=usual.threshold, metavar="PSI", help="default: %(default)s")
    add("--least-rows", type=int, default=usual.least_rows, metavar="N", help="default: %(default)s")
    add(
        "--runs", type=int, default=usual.runs, metavar="N", help="reports in a row for an alert (default: %(default)s)"
    )
    add("--pages", type=int, default=1, metavar="N", help="groups that Evidently draws; 0 for none (default: 1)")
    _takes_embeddings(report)
    report.set_defaults(act=_report)
    alert = actions.add_parser("alert", help="whether something stayed moved")
    _takes_places(alert)
    alert.set_defaults(act=_alert)


def _takes_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drift", type=Path, default=place("drift"), metavar="DIR", help="default: drift of the stack")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def _takes_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lake", type=Path, default=place("lake"), metavar="DIR", help="default: lake of the stack")
    parser.add_argument("--since", metavar="TIME", help="calls from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="calls before then")


def _takes_embeddings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--embeddings", action="store_true", help="look at what captured prompts speak of, too")


def _embed(options: argparse.Namespace) -> Embed | None:
    """all-MiniLM-L6-v2, where it is asked for."""
    if not options.embeddings:
        return None
    from serving.cache.minilm import packaged

    model = packaged()
    return lambda texts: model.vectors(model.tokens(texts))


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    done: int = options.act(options)
    return done


def _window(options: argparse.Namespace) -> io.Window:
    return io.Window(
        since_us=io.instant_us(options.since) if options.since else None,
        until_us=io.instant_us(options.until) if options.until else None,
    )


def _reference(options: argparse.Namespace) -> int:
    try:
        made = drifting.make_reference(options.drift, options.lake, window=_window(options), embed=_embed(options))
    except drifting.NoCallsError as nothing:
        print(f"tokenledger drift: {nothing}", file=sys.stderr)
        return _NOTHING
    print(f"{made.rows:,} calls, {len(made.columns):,} columns of tenants and features")
    facts = {"reference": made.version, "rows": made.rows, "columns": len(made.columns)}
    print(msgspec.json.encode(facts).decode() if options.json else made.version)
    return _DONE


def _report(options: argparse.Namespace) -> int:
    terms = Terms(threshold=options.threshold, least_rows=options.least_rows, runs=options.runs)
    asked = Asked(drift=options.drift, lake=options.lake, window=_window(options), terms=terms, pages=options.pages)
    found = drifting.report(asked, _embed(options))
    _table(found.findings[:_SHOWN])
    for one in found.spoken:
        print(f"{one.tenant_id}: prompts {one.distance:.4f} apart, told apart with ROC AUC {one.told_apart:.3f}")
    moved = sum(one.moved for one in found.findings)
    print(f"{found.rows:,} calls: {moved} of {len(found.findings)} columns moved; {len(found.unknown)} groups are new")
    print(f"report: {options.drift / 'reports' / found.run / 'index.html'}")
    alert = drifting.alert(options.drift)
    facts = {"run": found.run, "rows": found.rows, "moved": moved, "alert": alert.alert if alert else None}
    print(msgspec.json.encode(facts).decode() if options.json else found.run)
    return _DONE if found.rows else _NOTHING


def _alert(options: argparse.Namespace) -> int:
    found = drifting.alert(options.drift)
    if found is None:
        print("nothing stayed moved", file=sys.stderr)
        if options.json:
            print(msgspec.json.encode({"alert": None}).decode())
        return _NOTHING
    _table(found.findings[:_SHOWN])
    print(f"{len(found.findings)} columns moved in each of {len(found.runs)} reports in a row")
    print(msgspec.json.encode(found).decode() if options.json else found.alert)
    return _DONE


def _table(findings: tuple[Finding, ...]) -> None:
    table = Table("tenant", "feature", "column", "PSI", "by chance", "KL", "before", "now", "", box=None)
    for one in findings:
        figures = ("" if value is None else f"{value:.4f}" for value in (one.psi, one.noise, one.kl))
        rows = (f"{one.reference_rows:,}", f"{one.current_rows:,}")
        mark = "moved" if one.moved else "too few rows" if one.psi is None else ""
        table.add_row(one.tenant_id, one.feature or "all", one.column, *figures, *rows, mark)
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
