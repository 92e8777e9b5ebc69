"""The card of a version: what is in it, where it came from, what was left out and why. Made from the manifest alone."""

from collections.abc import Iterator
from datetime import UTC, datetime

from dags.core.manifest import Manifest
from dags.core.recipe import Balance, Recipe

_US = 1_000_000


def card(manifest: Manifest) -> str:
    """Markdown."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest.name}"
    yield ""
    yield f"Version `{manifest.version}`, kind `{manifest.kind}`, {manifest.rows:,} rows, rules {manifest.rules}."
    if manifest.recipe is not None and manifest.recipe.purpose:
        yield from ("", manifest.recipe.purpose)
    yield from ("", "## Files", "", "| file | rows | bytes | SHA-256 |", "|---|---:|---:|---|")
    yield from (f"| `{f.path}` | {f.rows:,} | {f.size_bytes:,} | `{f.sha256[:16]}…` |" for f in manifest.files)
    yield from ("", "## Where it came from", "")
    yield from _origin(manifest)
    if manifest.recipe is not None:
        yield from ("", "## Rules", "")
        yield from _rules(manifest.recipe)
    yield from ("", "## Counts", "", "| what | number |", "|---|---:|")
    yield from (f"| {name} | {count:,} |" for name, count in sorted(manifest.counts.items()))
    yield from ("", "## What it is not", "")
    yield "Personal data was replaced by patterns before it was captured; names without a pattern may remain."
    yield "A user's rows are found by `tokenledger datasets erase`, which makes a version without them."


def _origin(manifest: Manifest) -> Iterator[str]:
    source, growth = manifest.source, manifest.growth
    if source is not None:
        span = _span(source.since_us, source.until_us)
        yield f"- {source.calls:,} captured calls of {', '.join(source.tenants)}, {span}"
        yield f"- digest of what was read: `{source.digest}`"
    if growth is not None:
        did = "added" if growth.rows >= 0 else "taken away"
        yield f"- {abs(growth.rows):,} rows {did} by {growth.why}, from `{growth.parent}`"
    for name, version in sorted(manifest.against.items()):
        yield f"- holds no prompt of `{name}@{version}`"


def _span(since_us: int | None, until_us: int | None) -> str:
    if since_us is None and until_us is None:
        return "of all times"
    return f"{_instant(since_us) or 'from the first'} to {_instant(until_us) or 'the last'}"


def _instant(at_us: int | None) -> str:
    return "" if at_us is None else f"{datetime.fromtimestamp(at_us // _US, UTC):%Y-%m-%d %H:%M}Z"


def _rules(recipe: Recipe) -> Iterator[str]:
    yield f"- agreed: {', '.join(recipe.consent.tenants)}; {len(recipe.consent.refused_users)} users refused"
    if recipe.kind == "finetune":
        parts = ", ".join(f"{name} {weight}" for name, weight in sorted(recipe.split.parts.items()))
        yield f"- split by hash of the {recipe.split.by}: {parts}"
    if recipe.kind == "eval":
        yield f"- strata: {', '.join(recipe.strata.by)}; {recipe.strata.rows:,} rows asked for"
    if recipe.kind == "router_pairs":
        yield f"- tiers, the strongest last: {', '.join(recipe.router.tiers)}"
    yield f"- near duplicates from an estimated Jaccard similarity of {recipe.duplicates.threshold:g}"
    if recipe.filters.checks or recipe.filters.least_judge is not None:
        asked = ", ".join(recipe.filters.checks) or "no check asked"
        yield f"- passed: {asked}; judge at least {recipe.filters.least_judge}"
    if recipe.balance is not None:
        yield f"- balanced by {', '.join(recipe.balance.by)}: {'; '.join(_limits(recipe.balance)) or 'no limit'}"


def _limits(balance: Balance) -> Iterator[str]:
    if balance.most_rows is not None:
        yield f"at most {balance.most_rows:,} rows a group"
    if balance.most_times_smallest is not None:
        yield f"at most {balance.most_times_smallest} times the smallest group"
