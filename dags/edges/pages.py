"""A report as one small HTML page, without scripts. Pure, but for its being HTML."""

from collections.abc import Iterator, Sequence
from html import escape

from dags.core.findings import Drift, Finding

_MOST_ROWS = 500
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}td:nth-child(-n+3),th:nth-child(-n+3)"
    "{text-align:left}.moved{background:#fde8e8}"
)


def index(found: Drift, pages: Sequence[tuple[str, str]]) -> str:
    """What moved, the greatest first."""
    return "\n".join(_lines(found, pages)) + "\n"


def _lines(found: Drift, pages: Sequence[tuple[str, str]]) -> Iterator[str]:
    moved = sum(one.moved for one in found.findings)
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Drift {found.run}</title>'
    yield f"<style>{_STYLE}</style><h1>Drift</h1>"
    yield f"<p>{found.rows:,} calls against reference {found.reference}: {moved} of {len(found.findings)} columns moved"
    yield f"(PSI beyond chance at least {found.terms.threshold:g}, at least {found.terms.least_rows} rows).</p>"
    for what, file in pages:
        yield f'<p><a href="{escape(file)}">Evidently: {escape(what)}</a></p>'
    yield "<table><tr><th>tenant<th>feature<th>column<th>PSI<th>by chance<th>KL<th>before<th>now</tr>"
    yield from map(_row, found.findings[:_MOST_ROWS])
    yield "</table>"
    for one in found.spoken:
        yield f"<p>Prompts of {escape(one.tenant_id)}: embeddings {one.distance:.4f} apart, told apart with ROC AUC"
        yield f"{one.told_apart:.3f} ({one.reference_rows} before, {one.current_rows} now)</p>"
    for tenant, feature in found.unknown:
        yield f"<p>Not in the reference: {escape(tenant)} {escape(feature)}</p>"


def _row(one: Finding) -> str:
    names = (one.tenant_id, one.feature or "all features", one.column)
    figures = (
        _figure(one.psi),
        _figure(one.noise),
        _figure(one.kl),
        f"{one.reference_rows:,}",
        f"{one.current_rows:,}",
    )
    cells = "".join(f"<td>{cell}" for cell in (*map(escape, names), *figures))
    return f'<tr class="{"moved" if one.moved else ""}">{cells}</tr>'


def _figure(value: float | None) -> str:
    return "too few rows" if value is None else f"{value:.4f}"
