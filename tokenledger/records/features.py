"""What the stream knows of a model or a product feature: mergeable windows on the wire, features at the reader."""

from typing import Final

import msgspec

MINUTE_US: Final = 60_000_000
"""The window of the stream; longer ones are merged from it."""


class FeatureWindow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One minute of one entity's calls, in counts that add: two windows merge by adding every count."""

    entity: str
    """`model` (provider and model) or `feature` (tenant and product feature)."""
    provider: str = ""
    """Provider of a `model`."""
    model: str = ""
    """Model of a `model`: the priced one, else the one the reply names, else the one asked for."""
    tenant_id: str = ""
    """Tenant of a `feature`."""
    feature: str = ""
    """Product feature of a `feature`; empty for calls that name none."""
    window_start_at_us: int
    """Start of the minute in which the calls ended, event time, µs UTC."""
    window_us: int = MINUTE_US
    """Length of the window."""
    calls: int = 0
    """Calls that ended, by any outcome; a call in progress is not counted."""
    errors: int = 0
    """Calls that ended in an error, rate limits, timeouts and answers their upstream broke off included."""
    rate_limited: int = 0
    """Errors with HTTP 429 or an error type that says so."""
    timeouts: int = 0
    """Errors with HTTP 408 or 504 or an error type that says so."""
    aborted: int = 0
    """Calls broken off before their end, by the caller or by the upstream."""
    cache_hits: int = 0
    """Calls answered from the gateway's own cache."""
    escalations: int = 0
    """Calls of a stronger tier that were needed because a cheaper one's answer did not do: role `escalation`, or a
    `hedge` that served."""
    input_tokens: int = 0
    """Inclusive input tokens."""
    output_tokens: int = 0
    """Inclusive output tokens."""
    cache_read_tokens: int = 0
    """Input tokens read from the provider's cache, all modalities."""
    known_cost_usd_pico: int = 0
    """Known cost; the ledger's sum is the true one, as it alone knows duplicates."""
    incomplete_calls: int = 0
    """Calls whose cost is not wholly known."""
    total_us: dict[int, int] = {}
    """Histogram of total latency: bucket → calls (`tokenledger.histogram`)."""
    ttft_us: dict[int, int] = {}
    """Histogram of the time to first token: bucket → calls."""
    tpot_us: dict[int, int] = {}
    """Histogram of the time per output token: bucket → calls."""
    clamped_calls: int = 0
    """Calls whose end lay too far in the future or past and was taken as the append time."""
    late_calls: int = 0
    """Calls that came after the watermark had passed their window; they are counted here, in the window they missed."""
    expired_calls: int = 0
    """Calls that came more than an hour late: counted in the window open when they came, and in no other number."""
    revision: int = 0
    """Calls and expired calls so far: raised when a window is told again with late calls in it; the greatest counts."""
    emitted_at_us: int = 0
    """When the job told it, µs UTC."""


class TrafficFeatures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Traffic of one entity over one window. None where nothing was measured, never NaN."""

    calls: int | None = None
    """Calls in the window."""
    calls_per_min: float | None = None
    """Rate of calls."""
    tokens_per_min: float | None = None
    """Rate of input and output tokens."""
    error_ratio: float | None = None
    """Errors ÷ calls."""
    rate_limited_ratio: float | None = None
    """Rate-limited calls ÷ calls."""
    timeout_ratio: float | None = None
    """Timeouts ÷ calls."""
    cache_hit_ratio: float | None = None
    """Calls answered from the gateway's own cache ÷ calls."""
    escalation_ratio: float | None = None
    """Escalations ÷ calls."""
    input_tokens_per_call: float | None = None
    """Mean inclusive input."""
    output_tokens_per_call: float | None = None
    """Mean inclusive output."""
    known_cost_usd_pico_per_call: float | None = None
    """Mean known cost of a call, for expectation only; never summed into money."""
    ttft_us_p50: int | None = None
    """Median time to first token, within 1 %."""
    ttft_us_p95: int | None = None
    """95th percentile of the time to first token, within 1 %."""
    tpot_us_p50: int | None = None
    """Median time per output token, within 1 %."""
    tpot_us_p95: int | None = None
    """95th percentile of the time per output token, within 1 %."""
    total_us_p50: int | None = None
    """Median total latency, within 1 %."""
    total_us_p95: int | None = None
    """95th percentile of total latency, within 1 %."""


class SpendFeatures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one tenant's product feature has cost, by the ledger's roll-ups: duplicates are out."""

    known_cost_usd_pico_day: int | None = None
    """Known cost of the UTC day so far."""
    known_cost_usd_pico_month: int | None = None
    """Known cost of the UTC month so far."""
    incomplete_calls_month: int | None = None
    """Calls of the month whose cost is not wholly known."""
    calls_month: int | None = None
    """Calls of the month."""


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """One group of features that is written, expires and is read together."""

    name: str
    """Name in the feature store."""
    meaning: str
    """What it describes."""
    join_keys: tuple[str, ...]
    """What names one entity; all are texts."""
    record: type[TrafficFeatures] | type[SpendFeatures]
    """Its features."""
    window_us: int | None
    """The span of time it describes; None where the features say so themselves."""
    ttl_us: int
    """How long a value may be used after its event time."""


def _traffic(entity: str, join_keys: tuple[str, str]) -> tuple[FeatureView, ...]:
    spans = (("1m", MINUTE_US, 5), ("5m", 5 * MINUTE_US, 15), ("1h", 60 * MINUTE_US, 180))
    return tuple(
        FeatureView(
            name=f"{entity}_traffic_{name}",
            meaning=f"traffic per {' and '.join(join_keys)} over the last {name}",
            join_keys=join_keys,
            record=TrafficFeatures,
            window_us=window_us,
            ttl_us=ttl_min * MINUTE_US,
        )
        for name, window_us, ttl_min in spans
    )


VIEWS: Final = (
    *_traffic("model", ("provider", "model")),
    *_traffic("feature", ("tenant_id", "feature")),
    FeatureView(
        name="feature_spend",
        meaning="spend per tenant_id and feature, from the ledger",
        join_keys=("tenant_id", "feature"),
        record=SpendFeatures,
        window_us=None,
        ttl_us=60 * MINUTE_US,
    ),
)
"""Every view of the feature store."""
