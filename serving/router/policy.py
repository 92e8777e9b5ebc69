"""What a route wants of the router: one TOML file, checked as a whole before any of it is used. Pure: text → value."""

import hashlib
import tomllib
from typing import Annotated, Final, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

MOST_EXPLORATION: Final = 0.1
"""A greater share of calls sent against better knowledge is taken for a slip."""


class PolicyError(ValueError):
    """What is wrong, which value, and what would be right."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Tier(_Section, frozen=True, kw_only=True):
    """One tier: the model behind it, by which its features are found, and what a call of it costs about."""

    provider: Name
    """Provider as in the ledger."""
    model: Name
    """Model as in the ledger."""
    input_usd_pico_per_token: Count
    """Price of input, 10⁻¹² USD; only to expect a cost, the ledger knows the true one."""
    output_usd_pico_per_token: Count
    """Price of output."""
    output_tokens: Positive = 300
    """Tokens of an answer, where the stream does not know."""


class RoutePolicy(_Section, frozen=True, kw_only=True):
    """What one route may choose from, and within which bounds."""

    tiers: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Tiers allowed, the cheapest first, the strongest last."""
    static_tier: Name | None = None
    """Tier that serves while the router cannot judge; without it, the strongest."""
    quality_floor: Share = 0.95
    """Least quality expected of a cheaper tier, as a share of the strongest tier's."""
    confidence: Share = 0.5
    """Least probability that a cheaper tier's answer is not worse than the strongest tier's."""
    familiarity: Share = 0.02
    """A prompt stranger than all but this share of held-out training prompts goes to the strongest tier."""
    cost_ceiling_usd_pico: Positive | None = None
    """Most a call may be expected to cost; the strongest tier below it serves instead."""
    month_ceiling_usd_pico: Positive | None = None
    """Once tenant and feature have spent this in the UTC month, the cheapest tier serves."""
    ttft_ms: Positive | None = None
    """A tier whose 95th percentile of the time to first token is above is left out."""
    total_ms: Positive | None = None
    """A tier whose 95th percentile of total latency is above is left out."""
    error_ratio: Share = 0.5
    """A tier that fails more often is left out."""
    escalation_ratio: Share | None = None
    """Where cheap answers are escalated more often than this, the strongest tier is asked at once."""
    calls: Positive = 20
    """Fewer calls in the window say nothing of a tier."""
    features_age_ms: Positive = 300_000
    """Older features count as missing."""
    without_features: Literal["static", "prompt"] = "static"
    """While features are missing: the static tier, or judge by the prompt alone (a tier never called has none)."""
    explore: Annotated[float, msgspec.Meta(ge=0, le=MOST_EXPLORATION)] = 0.01
    """Share of calls sent to a tier by lot, so that another router can be judged by what came of them."""

    @property
    def static(self) -> str:
        """The tier that needs no judgement."""
        return self.static_tier or self.tiers[-1]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Every route's policy."""

    version: str
    """Hash of the file."""
    tiers: dict[str, Tier]
    """Every tier by name."""
    routes: dict[str, RoutePolicy]
    """Every route by the model name the caller uses."""


class _File(_Section, frozen=True, kw_only=True):
    tiers: Annotated[dict[Name, Tier], msgspec.Meta(min_length=1)]
    routes: Annotated[dict[Name, RoutePolicy], msgspec.Meta(min_length=1)]


def policy(text: str) -> Policy:
    """The policy as the file says it; raises PolicyError. A new text is checked whole before it replaces the old."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PolicyError(f"router policy: {error}; docs/routing.md lists every field") from None
    for name, route in file.routes.items():
        _check(name, route, tiers=file.tiers)
    return Policy(version=hashlib.sha256(text.encode()).hexdigest()[:16], tiers=file.tiers, routes=file.routes)


def _check(name: str, route: RoutePolicy, *, tiers: dict[str, Tier]) -> None:
    where = f"router policy: routes.{name}"
    if unknown := next((tier for tier in route.tiers if tier not in tiers), None):
        raise PolicyError(f"{where}.tiers names {unknown!r}; tiers are: {', '.join(tiers)}")
    if len(set(route.tiers)) < len(route.tiers):
        raise PolicyError(f"{where}.tiers names one twice: {', '.join(route.tiers)}")
    if route.static not in route.tiers:
        raise PolicyError(
            f"{where}.static_tier is {route.static!r}, which is none of its tiers: {', '.join(route.tiers)}"
        )
