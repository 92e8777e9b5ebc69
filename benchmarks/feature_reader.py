"""CPU of one read of features: our reader, a bare redis-py HMGET of the same fields, and Feast's SDK, in one run.

Run: `uv run python -m benchmarks.feature_reader`. The least of several rounds counts: what is above it is other
people's work. Ours includes the event loop, decoding, TTL and status; the bare HMGET decodes nothing.
"""

import gc
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.private_redis import running
from feature_repo.online import OnlineReader, ReadPolicy, Status
from feature_repo.redis_layout import feature_field, timestamp_field
from feature_repo.rows import Layout, Row
from feature_repo.settings import RedisSettings
from feature_repo.writing import OnlineStore, client
from tokenledger.records.features import VIEWS, TrafficFeatures

_VIEW = next(view for view in VIEWS if view.name == "model_traffic_5m")
_NAMES = _VIEW.record.__struct_fields__
_ENTITIES = [("openai", f"model-{number}") for number in range(100)]
_COUNTS = (1, 10, 100)
_ROUNDS = 12
_FEATURES = TrafficFeatures(
    calls=1234,
    calls_per_min=246.8,
    tokens_per_min=151_200.5,
    error_ratio=0.0125,
    rate_limited_ratio=0.01,
    timeout_ratio=0.0,
    cache_hit_ratio=0.25,
    escalation_ratio=0.0,
    input_tokens_per_call=1024.5,
    output_tokens_per_call=256.25,
    known_cost_usd_pico_per_call=4_500_000_000.0,
    ttft_us_p50=312_000,
    ttft_us_p95=1_250_000,
    tpot_us_p50=18_000,
    tpot_us_p95=42_000,
    total_us_p50=4_900_000,
    total_us_p95=12_700_000,
)


def _reads(count: int) -> int:
    """Reads a round: about as long for any number of entities."""
    return max(400 // count, 8)


def _cpu_us(work: Callable[[], object], count: int) -> float:
    figures = []
    for _ in range(_ROUNDS):
        gc.collect()
        begun_s = time.process_time()
        for _ in range(_reads(count)):
            work()
        figures.append((time.process_time() - begun_s) / _reads(count) * 1e6)
    return min(figures)


async def _cpu_us_async(work: Callable[[], Awaitable[object]], count: int) -> float:
    figures = []
    for _ in range(_ROUNDS):
        gc.collect()
        begun_s = time.process_time()
        for _ in range(_reads(count)):
            await work()
        figures.append((time.process_time() - begun_s) / _reads(count) * 1e6)
    return min(figures)


def _ours(settings: RedisSettings) -> dict[int, float]:
    async def measure() -> dict[int, float]:
        reader = OnlineReader(settings, ReadPolicy(deadline_s=1.0))
        assert await reader.start()
        found = {}
        for count in _COUNTS:
            asked = {_VIEW.name: _ENTITIES[:count]}
            vector = await reader.read(asked)
            assert all(one.status is Status.PRESENT and one.values == _FEATURES for one in vector.traffic(_VIEW.name))
            found[count] = await _cpu_us_async(lambda asked=asked: reader.read(asked), count)  # type: ignore[misc]
        await reader.close()
        return found

    return uvloop.run(measure())


def _bare(settings: RedisSettings, rows: list[Row]) -> dict[int, float]:
    redis: Any = client(settings)
    fields = [timestamp_field(_VIEW.name), *(feature_field(_VIEW.name, name) for name in _NAMES)]
    hashes, _ = Layout().hashes(rows)
    keys = [one.key for one in hashes]

    def read(count: int) -> object:
        if count == 1:
            return redis.hmget(keys[0], fields)
        with redis.pipeline(transaction=False) as pipeline:
            for key in keys[:count]:
                pipeline.hmget(key, fields)
            return pipeline.execute()

    return {count: _cpu_us(lambda count=count: read(count), count) for count in _COUNTS}  # type: ignore[misc]


def _feast(settings: RedisSettings, folder: Path) -> dict[int, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feature_repo import store as stores

        store = stores.opened(folder, settings)
        stores.apply(store, folder)
        features = [f"{_VIEW.name}:{name}" for name in _NAMES]
        asked = [dict(zip(_VIEW.join_keys, entity, strict=True)) for entity in _ENTITIES]
        assert store.get_online_features(features, asked[:1]).to_dict()["calls"] == [_FEATURES.calls]
        return {
            count: _cpu_us(lambda count=count: store.get_online_features(features, asked[:count]).to_dict(), count)  # type: ignore[misc]
            for count in _COUNTS
        }


@contextmanager
def _filled() -> Iterator[tuple[RedisSettings, list[Row]]]:
    now_us = time.time_ns() // 1000
    rows = [Row(_VIEW, entity, _FEATURES, now_us, now_us) for entity in _ENTITIES]
    with running() as settings:
        online = OnlineStore(settings)
        online.write(Layout().hashes(rows)[0])
        online.close()
        yield settings, rows


def main() -> None:
    """Print the table."""
    with _filled() as (settings, rows), tempfile.TemporaryDirectory() as folder:
        ours, bare, feast = _ours(settings), _bare(settings, rows), _feast(settings, Path(folder))
    print(f"{len(_NAMES)} features of one view; CPU µs a read.")
    print("| entities | reader | bare redis-py HMGET | Feast SDK | reader ÷ HMGET (≤ 2×) | SDK ÷ reader (≥ 5×) |")
    print("|---|---|---|---|---|---|")
    for count in _COUNTS:
        times, against = ours[count] / bare[count], feast[count] / ours[count]
        print(
            f"| {count} | {ours[count]:.0f} | {bare[count]:.0f} | {feast[count]:.0f} | {times:.2f}× | {against:.1f}× |"
        )


if __name__ == "__main__":
    main()
