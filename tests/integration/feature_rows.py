"""Rows of features for tests, and how the pusher writes them."""

import time
from typing import Any

import msgspec

from feature_repo.rows import Layout, Row, storable
from feature_repo.settings import RedisSettings
from feature_repo.writing import OnlineStore
from tokenledger.records.features import VIEWS, FeatureView, SpendFeatures, TrafficFeatures

VIEW = {view.name: view for view in VIEWS}
FULL = TrafficFeatures(
    calls=7,
    calls_per_min=0.1,
    tokens_per_min=1e9,
    error_ratio=0.0,
    rate_limited_ratio=1 / 3,
    timeout_ratio=1.0,
    cache_hit_ratio=0.5,
    escalation_ratio=5e-324,
    input_tokens_per_call=1.7e308,
    output_tokens_per_call=-0.0,
    known_cost_usd_pico_per_call=123.25,
    ttft_us_p50=0,
    ttft_us_p95=127,
    tpot_us_p50=128,
    tpot_us_p95=2**31,
    total_us_p50=2**53 + 1,
    total_us_p95=2**63 - 1,
)
SPEND = SpendFeatures(
    known_cost_usd_pico_day=0, known_cost_usd_pico_month=-5, incomplete_calls_month=None, calls_month=2**40
)


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000


def row(view: str | FeatureView, entity: tuple[str, ...], features: Any = None, *, age_us: int = 1_000_000) -> Row:
    """A row that was true so long ago; without features nothing in it was measured."""
    of = VIEW[view] if isinstance(view, str) else view
    said, _ = storable(of.record() if features is None else features)
    return Row(of, entity, said, now_us() - age_us, now_us())


def write(settings: RedisSettings, *rows: Row, layout: Layout | None = None) -> int:
    """As the pusher does; how many rows were refused."""
    online = OnlineStore(settings)
    hashes, refused = (layout or Layout()).hashes(rows)
    online.write(hashes)
    online.close()
    return refused


def without(features: TrafficFeatures, *names: str) -> TrafficFeatures:
    """The same, some not measured."""
    return msgspec.structs.replace(features, **dict.fromkeys(names))
