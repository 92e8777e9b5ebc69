# ruff: noqa: PD011  (`values` here are features, not a pandas frame's)
"""Feast's SDK and our own reader and writer agree on a real Redis, byte by byte and row by row."""

import asyncio
import random
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
import pytest

from feature_repo.history import ASKED_AT, as_known
from feature_repo.offline import History
from feature_repo.online import Entity, FeatureVector, OnlineReader, ReadPolicy, Reason, Status
from feature_repo.redis_layout import entity_key, key_frame
from feature_repo.rows import Layout, Row
from feature_repo.settings import RedisSettings
from tests.integration.feature_rows import FULL, SPEND, VIEW, now_us, row, without, write
from tests.integration.redis_server import RedisServer
from tokenledger.records.features import VIEWS, FeatureView, TrafficFeatures

if TYPE_CHECKING:
    from feast import FeatureStore

_PATIENT = ReadPolicy(deadline_s=5.0)
_MODEL = ("openai", "gpt-4o")
_NAMES = [
    ("openai", "gpt-4o"),
    ("open:ai/|,", "gpt\x1f4o\n\ttokenledger"),
    ("供应商", "modèle-🦜"),
    ("", ""),
    ("a" * 1024, "é" * 512),
]
_BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def applied(redis_server: RedisServer, folder: Path) -> "FeatureStore":
    """Feast, with everything applied. Its import takes seconds, so it stands here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own dependencies, at import
        from feature_repo import store

        opened = store.opened(folder, redis_server.settings("pusher"))
        store.apply(opened, folder)
    return opened


@pytest.fixture
def feast(applied: "FeatureStore", redis_server: RedisServer) -> Iterator["FeatureStore"]:
    """Feast over an empty Redis."""
    with redis_server.admin() as admin:
        admin.flushall()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield applied


def _ours(server: RedisServer, asked: dict[str, Sequence[Entity]]) -> FeatureVector:
    async def read() -> FeatureVector:
        reader = OnlineReader(server.settings("gateway"), _PATIENT)
        assert await reader.start(within_s=5)
        vector = await reader.read(asked)
        await reader.close()
        return vector

    return asyncio.run(read())


def _theirs(feast: "FeatureStore", views: Sequence[str], entities: Sequence[Entity]) -> list[dict[str, Any]]:
    """By the SDK: for each entity `view__feature` → value."""
    keys = VIEW[views[0]].join_keys
    features = [f"{view}:{name}" for view in views for name in VIEW[view].record.__struct_fields__]
    asked = [dict(zip(keys, entity, strict=True)) for entity in entities]
    found = feast.get_online_features(features, asked, full_feature_names=True).to_dict()
    return [{name: column[place] for name, column in found.items()} for place in range(len(entities))]


def _values(features: Any, view: str) -> dict[str, Any]:
    return {f"{view}__{name}": value for name, value in msgspec.structs.asdict(features.values).items()}


def _row_of_sdk(view: FeatureView, one: Row) -> pd.DataFrame:
    keys = dict(zip(view.join_keys, one.entity, strict=True))
    known_at = pd.Timestamp(one.event_at_us, unit="us", tz="UTC")
    columns = {name: [value] for name, value in (keys | msgspec.structs.asdict(one.features)).items()}
    frame = pd.DataFrame({**columns, "known_at": [known_at], "event_at": [known_at]})
    # pandas holds whole numbers with gaps as floats, which would round them.
    whole = [name for name, kind in view.record.__annotations__.items() if "int" in str(kind)]
    return frame.astype(dict.fromkeys(whole, "Int64"))


# The layout


@pytest.mark.parametrize("entity", _NAMES, ids=["plain", "separators", "unicode", "empty", "longest"])
def test_the_sdk_reads_what_the_pusher_writes(redis_server: RedisServer, feast: "FeatureStore", entity: Entity) -> None:
    write(redis_server.settings("pusher"), row("model_traffic_1m", entity, FULL))

    [theirs] = _theirs(feast, ["model_traffic_1m"], [entity])

    [ours] = _ours(redis_server, {"model_traffic_1m": [entity]}).traffic("model_traffic_1m")
    assert ours.status is Status.PRESENT
    assert ours.values == FULL
    assert theirs == _values(ours, "model_traffic_1m") | dict(zip(("provider", "model"), entity, strict=True))


@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_the_sdk_and_the_pusher_write_the_same_bytes(
    redis_server: RedisServer, feast: "FeatureStore", view: str
) -> None:
    """Fails on the day a new Feast lays its hashes out in another way."""
    of = VIEW[view]
    whole = FULL if of.record is TrafficFeatures else SPEND
    written = row(view, ("tenant/1", "naïve"), whole)
    feast.push(f"{view}_push", _row_of_sdk(of, written))

    [ours], _ = Layout().hashes([written])
    with redis_server.admin() as admin:
        assert admin.keys("*") == [ours.key]
        assert admin.hgetall(ours.key) == ours.fields
    [read] = _ours(redis_server, {view: [written.entity]}).views[view]
    assert (read.status, read.values) == (Status.PRESENT, whole)


def test_the_sdk_has_the_same_key_for_a_name_of_ten_kilobytes_which_we_refuse(
    redis_server: RedisServer, feast: "FeatureStore", monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ("openai", "x" * 10_000)
    assert write(redis_server.settings("pusher"), row("model_traffic_1m", long, FULL)) == 1
    feast.push("model_traffic_1m_push", _row_of_sdk(VIEW["model_traffic_1m"], row("model_traffic_1m", long, FULL)))

    [read] = _ours(redis_server, {"model_traffic_1m": [long]}).traffic("model_traffic_1m")
    assert (read.status, read.reason) == (Status.ERROR, Reason.ENTITY_REFUSED)
    monkeypatch.setattr("feature_repo.redis_layout.MAX_KEY_VALUE_BYTES", 10_000)
    with redis_server.admin() as admin:
        assert admin.keys("*") == [entity_key(key_frame("tokenledger", ("provider", "model")), long)]


def test_null_and_missing_are_told_apart_where_the_sdk_sees_null_in_both(
    redis_server: RedisServer, feast: "FeatureStore"
) -> None:
    partly = without(FULL, "ttft_us_p50", "error_ratio")
    write(redis_server.settings("pusher"), row("model_traffic_5m", _MODEL, partly))
    entities = [_MODEL, ("openai", "never")]

    theirs = _theirs(feast, ["model_traffic_5m"], entities)

    there, never = _ours(redis_server, {"model_traffic_5m": entities}).traffic("model_traffic_5m")
    assert (there.status, there.values) == (Status.PRESENT, partly)
    assert (never.status, never.values, never.age_us) == (Status.MISSING, TrafficFeatures(), None)
    for entity, ours, sdk in zip(entities, (there, never), theirs, strict=True):
        assert sdk == _values(ours, "model_traffic_5m") | dict(zip(("provider", "model"), entity, strict=True))


def test_a_value_past_its_ttl_is_expired_where_the_sdk_still_gives_it(
    redis_server: RedisServer, feast: "FeatureStore"
) -> None:
    ttl_us = VIEW["model_traffic_1m"].ttl_us
    old, young = ("openai", "old"), ("openai", "young")
    write(
        redis_server.settings("pusher"),
        row("model_traffic_1m", old, FULL, age_us=ttl_us + 1_000_000),
        row("model_traffic_1m", young, FULL, age_us=ttl_us - 60_000_000),
    )

    assert [sdk["model_traffic_1m__calls"] for sdk in _theirs(feast, ["model_traffic_1m"], [old, young])] == [7, 7]

    expired, present = _ours(redis_server, {"model_traffic_1m": [old, young]}).traffic("model_traffic_1m")
    assert (expired.status, expired.values) == (Status.EXPIRED, TrafficFeatures())
    assert expired.age_us is not None
    assert expired.age_us > ttl_us
    assert (present.status, present.values) == (Status.PRESENT, FULL)


def test_several_views_and_entities_are_one_read_and_equal_the_sdk(
    redis_server: RedisServer, feast: "FeatureStore"
) -> None:
    views = ["feature_traffic_1m", "feature_traffic_1h", "feature_spend"]
    entities = [("acme", "chat"), ("acme", ""), ("umbrella", "chat")]
    rows = [row(view, entities[0], SPEND if view == "feature_spend" else FULL) for view in views]
    write(redis_server.settings("pusher"), *rows, row("feature_spend", entities[1], SPEND))

    theirs = _theirs(feast, views, entities)

    vector = _ours(redis_server, dict.fromkeys(views, entities))
    for place, entity in enumerate(entities):
        ours = {name: value for view in views for name, value in _values(vector.views[view][place], view).items()}
        assert theirs[place] == ours | dict(zip(("tenant_id", "feature"), entity, strict=True))
    assert [one.status for one in vector.spend("feature_spend")] == ["present", "present", "missing"]


def test_a_service_serves_every_view_of_its_entity(redis_server: RedisServer, feast: "FeatureStore") -> None:
    write(redis_server.settings("pusher"), row("model_traffic_1h", _MODEL, FULL))

    asked = [dict(zip(("provider", "model"), _MODEL, strict=True))]
    found = feast.get_online_features(feast.get_feature_service("router"), asked, full_feature_names=True).to_dict()

    assert found["model_traffic_1h__calls"] == [7]
    assert len(found) == 2 + 3 * len(TrafficFeatures.__struct_fields__)


# The history


def _said(view: str, entity: Entity, minutes: float, calls: int) -> Row:
    event_at_us = int((_BASE + timedelta(minutes=minutes)).timestamp() * 1e6)
    return Row(VIEW[view], entity, TrafficFeatures(calls=calls), event_at_us, event_at_us)


def test_the_sdk_joins_the_history_as_we_do(feast: "FeatureStore", folder: Path) -> None:
    """Where it can: it drops questions whose every value is too old, and what was true but not yet known it leaks."""
    rng = random.Random(4)  # noqa: S311
    view, tenants = "feature_traffic_1m", ["a", "b", "c"]
    rows = [
        _said(view, (tenant, "chat"), minute, rng.randrange(1000))
        for tenant in tenants
        for minute in sorted(rng.sample(range(60), 25))
    ]
    History(folder, keep_days=100_000).write(rows, now_us=now_us())
    instants = [_BASE + timedelta(minutes=rng.uniform(-5, 70)) for _ in range(200)]
    asked = [{"tenant_id": rng.choice(tenants), "feature": "chat", ASKED_AT: instant} for instant in instants]
    questions = pd.DataFrame(asked)

    theirs = feast.get_historical_features(questions, [f"{view}:calls"]).to_df()

    ours = as_known(folder, questions, [f"{view}:calls"])
    assert len(ours) == 200
    assert len(theirs) < 200
    joined = theirs.merge(ours, on=["tenant_id", "feature", ASKED_AT], how="inner", validate="one_to_one")
    assert len(joined) == len(theirs)
    assert [_whole(value) for value in joined["calls"]] == [_whole(value) for value in joined[f"{view}__calls"]]
    assert sum(_whole(value) is not None for value in joined["calls"]) > 100


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def test_materialize_brings_the_newest_of_the_history_back(
    redis_server: RedisServer, feast: "FeatureStore", folder: Path
) -> None:
    from feature_repo import store

    rows = [row("model_traffic_1m", ("openai", "back"), TrafficFeatures(calls=calls)) for calls in (1, 2)]
    History(folder, keep_days=1).write(rows, now_us=now_us())

    store.materialize(feast, since=timedelta(hours=1))

    [read] = _ours(redis_server, {"model_traffic_1m": [("openai", "back")]}).traffic("model_traffic_1m")
    assert (read.status, read.values, read.event_at_us) == (
        Status.PRESENT,
        TrafficFeatures(calls=2),
        rows[1].event_at_us,
    )


@pytest.mark.usefixtures("feast")
def test_applying_again_takes_out_what_the_records_no_longer_have(tmp_path: Path) -> None:
    from feature_repo import store

    opened = store.opened(tmp_path, RedisSettings(user="nobody"))
    store.apply(opened, tmp_path)
    store.apply(opened, tmp_path, views=VIEWS[:3])

    assert {view.name for view in opened.list_feature_views()} == {view.name for view in VIEWS[:3]}
    assert {entity.name for entity in opened.list_entities()} - {"__dummy"} == {"provider", "model"}
