"""docs/features.md: every feature with its unit and meaning, every view with its keys, window and TTL, for people."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args, get_type_hints

from schemas.meanings import field_meanings, meaning_of
from tokenledger.records.features import VIEWS, FeatureView

_OPENING = """\
# Features

What a router can know of a model and of who calls, a few milliseconds away. Traffic comes from the stream, spend from
the ledger. Each entity has its own values; `null` is *not measured*, never 0.

Age counts from the end of the newest minute a value speaks of. A value older than its view's TTL is *expired*, one that
was never written is *missing*; either way a reader gets the defaults of its policy, and is told which it was.

```python
reader = OnlineReader(RedisSettings.from_environment(os.environ, user="gateway"))
await reader.start()
vector = await reader.read({"model_traffic_1m": [("openai", "gpt-4o")], "feature_spend": [("acme", "search")]})
vector.traffic("model_traffic_1m")[0].values.error_ratio
```

What was known at an instant in the past, for training: `feature_repo.history.as_known`.
"""
_UNITS: Final = (
    ("_ratio", "share, 0 to 1"),
    ("_per_min", "per minute"),
    ("_usd_pico_per_call", "10⁻¹² USD a call"),
    ("_tokens_per_call", "tokens a call"),
    ("_us_p50", "µs"),
    ("_us_p95", "µs"),
    ("_usd_pico_day", "10⁻¹² USD"),
    ("_usd_pico_month", "10⁻¹² USD"),
)
_SPANS: Final = ((3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"))
_TYPES: Final[dict[type, str]] = {int: "integer", float: "number", str: "text", bool: "boolean"}


def feature_page() -> str:
    """The whole page."""
    records = dict.fromkeys(view.record for view in VIEWS)
    return "\n".join([_OPENING, _views(VIEWS), *(_record(record) for record in records)])


def _views(views: Iterable[FeatureView]) -> str:
    rows = [
        (
            f"`{view.name}`",
            view.meaning,
            ", ".join(f"`{name}`" for name in view.join_keys),
            f"[{view.record.__name__}](#{view.record.__name__.lower()})",
            span(view.window_us) if view.window_us else "as each feature says",
            span(view.ttl_us),
        )
        for view in views
    ]
    return _section("Views", "", head=("view", "meaning", "entity", "features", "window", "TTL"), rows=rows)


def _record(record: type) -> str:
    meanings = field_meanings(record)
    rows = [(f"`{name}`", _type(hint), unit(name), meanings[name]) for name, hint in get_type_hints(record).items()]
    return _section(record.__name__, meaning_of(record), head=("feature", "type", "unit", "meaning"), rows=rows)


def unit(name: str) -> str:
    """The unit a feature's name states; a name that states none is a count."""
    return next((stated for end, stated in _UNITS if name.endswith(end)), "count")


def span(length_us: int) -> str:
    """A span of time in the largest unit that holds it whole."""
    size_us, name = next((size_us, name) for size_us, name in _SPANS if length_us % size_us == 0)
    return f"{length_us // size_us} {name}"


def _type(hint: Any) -> str:
    return next(_TYPES[kind] for kind in get_args(hint) or (hint,) if kind in _TYPES)


def _section(title: str, meaning: str, *, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([f"## {title}\n", *([f"{meaning}\n"] if meaning else []), f"{table}\n"])
