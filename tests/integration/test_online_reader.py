"""The hot-path reader against a real Redis that is killed, emptied, stopped, filled with rubbish, or not for us."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest
from redis import AuthenticationError, Redis, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.online import OnlineReader, ReadPolicy, Reason, Status
from feature_repo.redis_layout import encoded, feature_field, timestamp_field
from feature_repo.rows import Layout
from feature_repo.settings import RedisSettings
from feature_repo.writing import OnlineStore
from tests.integration.feature_rows import FULL, SPEND, VIEW, now_us, row, write
from tests.integration.redis_server import RedisServer
from tokenledger.records.features import FeatureView, TrafficFeatures

_MODEL = ("openai", "gpt-4o")
_VIEW = "model_traffic_1m"
_PATIENT = ReadPolicy(deadline_s=5.0)
_ASSUMED = TrafficFeatures(error_ratio=0.5)


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """An empty Redis that runs."""
    with redis_server.admin() as admin:
        admin.flushall()
    yield redis_server
    if redis_server.process is None:
        redis_server.start()


@asynccontextmanager
async def _reading(server: RedisServer, policy: ReadPolicy = _PATIENT) -> AsyncIterator[OnlineReader]:
    reader = OnlineReader(server.settings("gateway"), policy)
    assert await reader.start(within_s=5)
    try:
        yield reader
    finally:
        await reader.close()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(500):
        if await holds():
            return
        await asyncio.sleep(0.02)
    pytest.fail("waited 10 s")


def _with_reader(
    server: RedisServer, test: Callable[[OnlineReader], Awaitable[None]], policy: ReadPolicy = _PATIENT
) -> None:
    async def run() -> None:
        async with _reading(server, policy) as reader:
            await test(reader)

    asyncio.run(run())


# What is there


def test_age_and_status_are_told_and_every_default_is_counted(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL, age_us=7_000_000))
    write(server.settings("pusher"), row(_VIEW, ("openai", "old"), FULL, age_us=10**9))

    async def test(reader: OnlineReader) -> None:
        vector = await reader.read({_VIEW: [_MODEL, ("openai", "old"), ("openai", "never")], "feature_spend": []})

        present, expired, missing = vector.traffic(_VIEW)
        assert (present.status, present.values, present.reason) == (Status.PRESENT, FULL, None)
        assert 7_000_000 <= (present.age_us or 0) < 60_000_000
        assert (expired.status, expired.values) == (Status.EXPIRED, _ASSUMED)
        assert (missing.status, missing.values) == (Status.MISSING, _ASSUMED)
        assert vector.spend("feature_spend") == ()
        assert dict(reader.defaults_served) == {(_VIEW, "expired"): 1, (_VIEW, "missing"): 1}

    _with_reader(server, test, ReadPolicy(deadline_s=5.0, defaults={_VIEW: _ASSUMED}))


def test_a_hundred_reads_at_once_get_each_its_own_answer(server: RedisServer) -> None:
    rows = [row(_VIEW, ("openai", f"m{number}"), TrafficFeatures(calls=number)) for number in range(100)]
    write(server.settings("pusher"), *rows)

    async def test(reader: OnlineReader) -> None:
        asked = [[("openai", f"m{number}"), ("openai", f"m{99 - number}")] for number in range(100)]
        vectors = await asyncio.gather(*(reader.read({_VIEW: entities}) for entities in asked))
        found = [[one.values.calls for one in vector.traffic(_VIEW)] for vector in vectors]
        assert found == [[number, 99 - number] for number in range(100)]

    _with_reader(server, test)


def test_a_read_that_its_caller_gives_up_disturbs_no_other(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL))

    async def test(reader: OnlineReader) -> None:
        given_up = [asyncio.ensure_future(reader.read({_VIEW: [("openai", "never")]})) for _ in range(5)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert read.values == FULL

    _with_reader(server, test)


@pytest.mark.parametrize("name", ["x" * 10_000, "\udc80"], ids=["10 kB", "no text"])
def test_a_name_that_is_refused_does_not_keep_its_neighbours_from_an_answer(server: RedisServer, name: str) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL))

    async def test(reader: OnlineReader) -> None:
        refused, there = (await reader.read({_VIEW: [("openai", name), _MODEL]})).traffic(_VIEW)
        assert (refused.status, refused.reason) == (Status.ERROR, Reason.ENTITY_REFUSED)
        assert there.values == FULL

    _with_reader(server, test)


def test_rubbish_in_a_hash_is_told_and_does_not_keep_its_neighbours_from_an_answer(server: RedisServer) -> None:
    names = ["not a hash", "no timestamp", "no number", "nan"]
    settings = server.settings("pusher")
    write(settings, row(_VIEW, _MODEL, FULL), *(row(_VIEW, ("openai", name), FULL) for name in names))
    hashes, _ = Layout().hashes([row(_VIEW, ("openai", name)) for name in names])
    ratio = feature_field(_VIEW, "error_ratio")
    with server.admin() as admin:
        admin.set(hashes[0].key, b"text")
        admin.hset(hashes[1].key, timestamp_field(_VIEW), b"\xff\xff")
        admin.hset(hashes[2].key, ratio, encoded("a text"))
        admin.hset(hashes[3].key, ratio, b"\x29\0\0\0\0\0\0\xf8\x7f")

    async def test(reader: OnlineReader) -> None:
        asked = [*(("openai", name) for name in names), _MODEL]
        *bad, good = (await reader.read({_VIEW: asked})).traffic(_VIEW)
        assert [one.reason for one in bad] == [Reason.REFUSED, *[Reason.UNDECODABLE] * 3]
        assert [one.values for one in bad] == [TrafficFeatures()] * 4
        assert good.values == FULL

    _with_reader(server, test)


# Redis away


def test_defaults_while_redis_is_dead_and_features_when_it_is_back_and_filled(server: RedisServer) -> None:
    settings = server.settings("pusher")
    write(settings, row(_VIEW, _MODEL, FULL))

    async def test(reader: OnlineReader) -> None:
        server.kill()

        async def gone() -> bool:
            [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
            return (read.status, read.reason) == (Status.ERROR, Reason.DISCONNECTED)

        await _until(gone)
        server.start()

        async def back_and_empty() -> bool:
            [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
            return read.status is Status.MISSING

        await _until(back_and_empty)
        write(settings, row(_VIEW, _MODEL, FULL))
        [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert read.values == FULL

    _with_reader(server, test)


def test_a_redis_that_stands_still_costs_the_deadline_and_is_left(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL))
    assert server.process is not None
    pid = server.process.pid

    async def test(reader: OnlineReader) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
            assert (read.status, read.reason) == (Status.ERROR, Reason.DEADLINE)
            [first, second] = await asyncio.gather(*(reader.read({_VIEW: [_MODEL]}) for _ in range(2)))
            assert {one.traffic(_VIEW)[0].reason for one in (first, second)} == {Reason.DEADLINE, Reason.OVERLOADED}

            async def left() -> bool:
                await reader.read({_VIEW: [_MODEL]})
                return not reader.connected

            await _until(left)
        finally:
            os.kill(pid, signal.SIGCONT)

        async def back() -> bool:
            return (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)[0].status is Status.PRESENT

        await _until(back)

    _with_reader(server, test, ReadPolicy(deadline_s=0.05, max_in_flight=2, stalled_after_s=0.2))


@pytest.mark.parametrize("wrong", ["password", "user", "socket", "file"])
def test_a_reader_that_cannot_log_in_gives_defaults_and_goes_on_trying(
    server: RedisServer, tmp_path: Path, wrong: str
) -> None:
    right = server.settings("gateway")
    file = tmp_path / "password"
    file.write_text("wrong" if wrong == "password" else right.password())
    settings = RedisSettings(
        user="nobody" if wrong == "user" else "gateway",
        password_file=tmp_path / "none" if wrong == "file" else file,
        socket=str(tmp_path / "none") if wrong == "socket" else right.socket,
    )

    async def run() -> None:
        reader = OnlineReader(settings)
        assert not await reader.start(within_s=0.2)
        [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert (read.reason, read.values) == (Reason.DISCONNECTED, TrafficFeatures())
        if wrong == "password":
            file.write_text(right.password())
            assert await reader.start(within_s=10)
        await reader.close()

    asyncio.run(run())


def test_the_reader_imports_neither_feast_nor_pandas() -> None:
    code = "import sys, feature_repo.online; print(sorted({'feast', 'pandas', 'numpy', 'redis'} & sys.modules.keys()))"

    async def run() -> bytes:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return out

    assert asyncio.run(run()) == b"[]\n"


# Who may what


def _refused(command: Callable[[Redis], object], client: Redis) -> bool:
    try:
        command(client)
    except ResponseError as error:
        return "NOPERM" in str(error) or "no permissions" in str(error)
    return False


def test_the_gateway_may_read_its_keys_and_nothing_else(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL))
    [ours], _ = Layout().hashes([row(_VIEW, _MODEL)])
    key = cast("str", ours.key)
    with server.admin() as admin:
        admin.hset("foreign", "a", "b")

    with server.client("gateway") as gateway:
        assert gateway.hgetall(key).keys() == ours.fields.keys()
        forbidden: list[Callable[[Redis], object]] = [
            lambda client: client.hset(key, "a", "b"),
            lambda client: client.delete(ours.key),
            lambda client: client.expire(ours.key, 1),
            lambda client: client.hgetall("foreign"),
            lambda client: client.hmget("foreign", ["a"]),
            lambda client: client.keys("*"),
            lambda client: client.scan(),
            lambda client: client.flushall(),
            lambda client: client.config_get("*"),
            lambda client: client.eval("return 1", 0),
            lambda client: client.acl_list(),
            lambda client: client.client_list(),
        ]
        assert [place for place, command in enumerate(forbidden) if not _refused(command, gateway)] == []


def test_the_pusher_may_write_its_keys_and_administer_nothing(server: RedisServer) -> None:
    with server.client("pusher") as pusher:
        forbidden: list[Callable[[Redis], object]] = [
            lambda client: client.hset("foreign", "a", "b"),
            lambda client: client.hgetall("foreign"),
            lambda client: client.flushall(),
            lambda client: client.keys("*"),
            lambda client: client.config_set("maxmemory", "1"),
            lambda client: client.eval("return 1", 0),
        ]
        assert [_refused(command, pusher) for command in forbidden] == [True] * len(forbidden)


def test_nobody_gets_in_without_a_password(server: RedisServer) -> None:
    once = Retry(NoBackoff(), 0)
    with (
        Redis(unix_socket_path=server.settings("gateway").socket, retry=once) as nobody,
        pytest.raises(AuthenticationError),
    ):
        nobody.ping()


@pytest.mark.parametrize("user", ["gateway", "pusher"])
def test_a_password_is_in_a_file_of_its_owner_and_nowhere_else(server: RedisServer, user: str) -> None:
    path = server.settings(user).password_file
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    password = path.read_text().encode()
    assert len(password) >= 32
    assert not [file for file in server.layout.config.rglob("*") if file.is_file() and password in file.read_bytes()]


# A schema that changes while old readers run


def _changed(view: FeatureView, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> FeatureView:
    """The view as another version of the records has it."""
    kept = [
        (field.name, field.type, None) for field in msgspec.structs.fields(TrafficFeatures) if field.name not in remove
    ]
    record = msgspec.defstruct(
        "TrafficFeatures", [*kept, *((name, int | None, None) for name in add)], frozen=True, kw_only=True
    )
    return msgspec.structs.replace(view, record=record)


def test_an_old_reader_reads_on_where_a_new_pusher_knows_one_feature_more(server: RedisServer) -> None:
    new = _changed(VIEW[_VIEW], add=("retries",))
    write(server.settings("pusher"), row(new, _MODEL, new.record(calls=1, retries=2)), layout=Layout([new]))  # type: ignore[call-arg]  # of another version

    async def test(old: OnlineReader) -> None:
        [read] = (await old.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert (read.status, read.values) == (Status.PRESENT, TrafficFeatures(calls=1))

    _with_reader(server, test)


def test_a_feature_that_a_new_pusher_no_longer_writes_is_null_to_an_old_reader_not_stale(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, TrafficFeatures(calls=1, error_ratio=0.9)))
    new = _changed(VIEW[_VIEW], remove=("error_ratio",))
    write(server.settings("pusher"), row(new, _MODEL, new.record(calls=2)), layout=Layout([new]))  # type: ignore[call-arg]  # of another version

    async def test(old: OnlineReader) -> None:
        [read] = (await old.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert (read.status, read.values) == (Status.PRESENT, TrafficFeatures(calls=2))

    _with_reader(server, test)


def test_removing_what_is_left_over_spares_the_other_views_of_the_entity(server: RedisServer) -> None:
    entity = ("acme", "chat")
    write(server.settings("pusher"), row("feature_spend", entity, SPEND))
    write(server.settings("pusher"), row("feature_traffic_1m", entity, FULL))

    async def test(reader: OnlineReader) -> None:
        vector = await reader.read({"feature_spend": [entity], "feature_traffic_1m": [entity]})
        assert vector.spend("feature_spend")[0].values == SPEND
        assert vector.traffic("feature_traffic_1m")[0].values == FULL

    _with_reader(server, test)


def test_a_late_revision_replaces_features_of_the_same_instant(server: RedisServer) -> None:
    """Feast would drop it, as it drops whatever is not newer."""
    at_us = now_us() - 1_000_000
    for calls in (1, 2):
        said = row(_VIEW, _MODEL, TrafficFeatures(calls=calls))._replace(event_at_us=at_us)
        write(server.settings("pusher"), said)

    async def test(reader: OnlineReader) -> None:
        [read] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        assert read.values == TrafficFeatures(calls=2)

    _with_reader(server, test)


def test_the_writer_sees_once_that_redis_was_emptied(server: RedisServer) -> None:
    online = OnlineStore(server.settings("pusher"))
    assert [online.lost(), online.lost()] == [True, False]
    with server.admin() as admin:
        admin.flushall()
    assert [online.lost(), online.lost()] == [True, False]
    online.close()


def test_what_nobody_writes_any_more_is_forgotten_but_later_than_it_expires(server: RedisServer) -> None:
    write(server.settings("pusher"), row(_VIEW, _MODEL, FULL))
    [ours], _ = Layout().hashes([row(_VIEW, _MODEL)])
    with server.admin() as admin:
        left_us = admin.pttl(ours.key) * 1000
    assert left_us > max(view.ttl_us for view in VIEW.values())
