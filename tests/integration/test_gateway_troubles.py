"""The gateway between upstreams and clients that fail: what each side sees, and that each attempt is accounted once."""

import asyncio
from typing import Any

import msgspec
import pytest
import uvloop

from tests.serving.running import (
    CHAT,
    EVENT_STREAM,
    STREAM,
    USAGE,
    Running,
    Upstream,
    chunked,
    completion,
    config,
    event,
    free_port,
    hang,
    raw,
    reply,
    request,
    running,
    streamed,
    tuned,
    upstream,
    with_upstream,
)


def test_a_silent_upstream_is_given_up() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (504, "upstream_first_byte_timeout")
        outcome = gateway.memory.outcomes[0]
        assert (outcome.http_status, outcome.aborted, outcome.error_type) == (None, True, "upstream_first_byte_timeout")

    tuned(scenario, hang(), settings="first_byte_ms = 200\n")


def test_a_stream_that_falls_silent_ends_in_an_error_event() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True})
        assert answer.status == 200
        assert answer.events[-1]["error"]["code"] == "upstream_idle_timeout"
        assert b"[DONE]" not in answer.body
        outcome = gateway.memory.outcomes[0]
        assert (outcome.aborted, outcome.error_type, outcome.output_chunks) == (True, "upstream_idle_timeout", 2)

    step = raw(EVENT_STREAM + b"transfer-encoding: chunked\r\n\r\n", *map(chunked, STREAM[:3]), pause_s=0.01)

    async def silent(request_: Any, writer: asyncio.StreamWriter) -> None:
        await step(request_, writer)
        await asyncio.sleep(2)

    tuned(scenario, silent, settings="idle_ms = 200\n")


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_an_upstream_that_closes_in_mid_stream_ends_in_an_error_event(cut: int) -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True})
        outcome = gateway.memory.outcomes[0]
        assert outcome.error_type == "upstream_closed"
        assert answer.events[-1]["error"]["code"] == "upstream_closed"
        assert b"[DONE]" not in answer.body
        assert outcome.aborted
        assert outcome.reply is not None
        assert msgspec.json.decode(outcome.reply)["id"] == "chatcmpl-2"

    half = STREAM[cut][: len(STREAM[cut]) // 2]
    with_upstream(scenario, streamed(*STREAM[:cut], half, end=False))


def test_an_error_event_of_the_upstream_passes_and_is_accounted() -> None:
    bad = b'data: {"error":{"message":"quoting the prompt","type":"server_error","code":500}}\n\n'

    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True})
        assert answer.body.endswith(bad)
        outcome = gateway.memory.outcomes[0]
        assert (outcome.error_type, outcome.aborted) == ("upstream_error_event", True)
        assert outcome.reply is not None
        assert b"quoting" not in bytes(outcome.reply)
        assert msgspec.json.decode(outcome.reply)["error"] == {"type": "server_error", "code": 500}

    with_upstream(scenario, streamed(*STREAM[:2], bad))


def test_a_client_that_leaves_is_drained_for_its_usage() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        reader, writer = await gateway.send(request(CHAT | {"stream": True}))
        await reader.readuntil(b'"he"')
        writer.transport.abort()
        outcome = await gateway.settled()
        assert (outcome.aborted, outcome.error_type) == (False, None)
        assert outcome.reply is not None
        assert msgspec.json.decode(outcome.reply)["usage"] == USAGE

    with_upstream(scenario, streamed(*STREAM, pause_s=0.05))


@pytest.mark.parametrize("policy", ["drain.abandoned_ms = 150\n", "drain.abandoned_bytes = 2000\n"])
def test_draining_has_an_end(policy: str) -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        reader, writer = await gateway.send(request(CHAT | {"stream": True}))
        await reader.readuntil(b'"he"')
        writer.transport.abort()
        outcome = await gateway.settled()
        assert (outcome.aborted, outcome.error_type) == (True, "client_disconnected")
        assert outcome.output_chunks > 0
        for _ in range(100):
            if up.lost:
                break
            await asyncio.sleep(0.02)
        assert up.lost == 1, "the upstream was not cancelled"

    with_upstream(scenario, streamed(*STREAM[:2], *[event({"content": "x"})] * 2000, pause_s=0.01), more=policy)


def test_a_client_that_leaves_before_a_whole_reply_pays_for_it_all_the_same() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        _, writer = await gateway.send(request(CHAT))
        await asyncio.sleep(0.1)
        writer.transport.abort()
        outcome = await gateway.settled()
        assert (outcome.http_status, outcome.aborted) == (200, False)

    async def slow(request_: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await reply(completion())(request_, writer)

    with_upstream(scenario, slow)


def test_a_slow_reader_holds_the_upstream_back() -> None:
    """The gateway's memory must not grow with what a client leaves unread."""
    size = 64_000
    sent = 0

    async def flood(_request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(EVENT_STREAM + b"\r\n" + event({"role": "assistant", "content": ""}))
        for _ in range(1_000):
            writer.write(event({"content": "x" * size}))
            await writer.drain()
            sent += size
        writer.write(b"".join(STREAM[3:]))
        await writer.drain()
        writer.close()

    async def scenario(gateway: Running, _up: Upstream) -> None:
        reader, writer = await gateway.send(request(CHAT | {"stream": True}, headers="connection: close\r\n"))
        last = -1
        while sent != last:
            last = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 30_000_000, "the upstream could send on although nobody reads"
        read = await reader.read()
        assert len(read) > 1_000 * size
        assert b"[DONE]" in read[-40:]
        writer.close()
        outcome = await gateway.settled()
        assert (outcome.output_chunks, outcome.aborted, outcome.error_type) == (1_000, False, None)

    with_upstream(scenario, flood)


def test_a_client_that_never_reads_is_dropped_and_accounted() -> None:
    async def flood(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(EVENT_STREAM + b"\r\n")
        while not writer.is_closing():
            writer.write(event({"content": "x" * 64_000}))
            await writer.drain()

    async def scenario(gateway: Running, _up: Upstream) -> None:
        _, writer = await gateway.send(request(CHAT | {"stream": True}))
        outcome = await gateway.settled()
        assert (outcome.aborted, outcome.error_type) == (True, "client_disconnected")
        writer.close()

    with_upstream(scenario, flood, more="limits.stalled_ms = 300\ndrain.abandoned_ms = 0\n")


def test_an_idle_stream_has_heartbeats() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True})
        assert answer.body.count(b": heartbeat\n\n") >= 2
        assert answer.body.replace(b": heartbeat\n\n", b"").endswith(b"data: [DONE]\n\n")

    with_upstream(scenario, streamed(*STREAM, pause_s=0.25), more="heartbeat_ms = 100\n")


ERRORS: list[tuple[int, Any, int, str]] = [
    (400, {"error": {"message": "bad", "type": "invalid_request_error", "param": "n", "code": "x"}}, 400, "bad"),
    (422, {"detail": [{"loc": ["body"], "msg": "nope"}]}, 400, "nope"),
    (
        401,
        {"error": {"message": "Incorrect API key: sk-abc", "type": "x", "param": None, "code": None}},
        502,
        "refused",
    ),
    (404, {"error": {"message": "no such model", "type": "x", "param": None, "code": None}}, 502, "does not know"),
    (500, b"<html>oops</html>", 500, "answered 500"),
    (429, {"object": "error", "message": "slow down"}, 429, "slow down"),
    (200, {"error": {"message": "inside", "type": "x", "param": None, "code": None}}, 502, "inside"),
    (200, b"not json", 502, "no JSON"),
]


@pytest.mark.parametrize(("status", "body", "shown", "message"), ERRORS)
def test_an_upstreams_error_is_an_openai_error(status: int, body: Any, shown: int, message: str) -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert answer.status == shown
        assert message in answer.error["message"]
        assert "sk-abc" not in answer.body.decode()
        assert gateway.memory.outcomes[-1].http_status == status

    with_upstream(scenario, reply(body, status), more="retries.attempts = 1\n")


def test_a_rate_limited_call_is_retried_then_falls_back() -> None:
    async def all_of_it() -> None:
        limited = reply(
            {"error": {"message": "slow", "type": "x", "param": None, "code": None}}, 429, "retry-after-ms: 10\r\n"
        )
        async with (
            upstream(limited) as first,
            upstream(reply(completion())) as second,
            running(config(a=first.port, b=second.port)) as gateway,
        ):
            answer = await gateway.post(CHAT)
            assert (answer.status, answer.headers["x-route"]) == (200, "b")
            assert (len(first.received), len(second.received)) == (2, 1)
            attempts = [(i.attempt_no, i.attempt_role, i.deployment_id) for i in gateway.memory.intents]
            assert attempts == [(1, "primary", "a"), (2, "retry", "a"), (3, "fallback", "b")]
            assert len({i.operation_id for i in gateway.memory.intents}) == 1
            assert len({i.event_id for i in gateway.memory.intents}) == 3
            assert [o.http_status for o in gateway.memory.outcomes] == [429, 429, 200]
            assert gateway.memory.settled_once()

    uvloop.run(all_of_it())


def test_a_replica_nobody_listens_at_is_passed_over_and_then_left_alone() -> None:
    async def all_of_it() -> None:
        async with upstream(reply(completion())) as second:
            toml = "breaker.failures = 3\n" + config(a=free_port(), b=second.port)
            async with running(toml) as gateway:
                for _ in range(6):
                    assert (await gateway.post(CHAT)).headers["x-route"] == "b"
                tried = [o.error_type for o in gateway.memory.outcomes if o.error_type]
                assert tried == ["upstream_connect_failed"] * len(tried)
                assert len(tried) < 6, "the breaker never opened"
                assert gateway.memory.settled_once()
                await gateway.pools_empty()

    uvloop.run(all_of_it())


def test_a_kept_connection_that_was_closed_meanwhile_costs_a_second_attempt_only() -> None:
    async def close_at_once(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def scenario(gateway: Running, _up: Upstream) -> None:
        assert (await gateway.post(CHAT)).status == 200
        assert (await gateway.post(CHAT)).status == 200
        assert [o.error_type for o in gateway.memory.outcomes] == [None, "upstream_closed_unanswered", None]
        assert [i.attempt_role for i in gateway.memory.intents] == ["primary", "primary", "retry"]

    with_upstream(scenario, reply(completion()), close_at_once, reply(completion()))


def test_a_fresh_connection_that_closes_unanswered_is_not_tried_again() -> None:
    """The call may have been made: twice would be paid twice."""

    async def scenario(gateway: Running, up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (502, "upstream_closed_unanswered")
        assert len(up.received) == 1

    with_upstream(scenario, raw(close=True))


def test_a_full_outbox_refuses_before_inference() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        gateway.memory.full = True
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (503, "outbox_full")
        assert up.received == []
        assert len(gateway.memory.released) == 1
        assert (await gateway.get("/readyz")).status == 503

    with_upstream(scenario, reply(completion()))


def test_a_budget_that_is_used_up_refuses_before_inference() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        gateway.memory.no_budget_for.add("up")
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        assert (up.received, gateway.memory.intents) == ([], [])

    with_upstream(scenario, reply(completion()))


def test_a_full_upstream_is_waited_for_in_a_bounded_line() -> None:
    async def slow(request_: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await reply(completion())(request_, writer)

    async def scenario(gateway: Running, _up: Upstream) -> None:
        answers = await asyncio.gather(*[gateway.post(CHAT) for _ in range(6)])
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [200, 200, 200, 503, 503, 503]
        assert {a.error["code"] for a in answers if a.status == 503} == {"upstream_overloaded"}
        assert len(gateway.memory.intents) == 3

    tuned(scenario, slow, settings="connections = 2\nwaiting = 1\n")


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
def test_an_upstream_that_speaks_no_proper_http_is_a_bad_gateway(bad: bytes) -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert answer.status == 502
        assert answer.error["code"] in {"upstream_invalid_reply", "upstream_closed"}

    with_upstream(scenario, raw(bad, close=True))


def test_a_header_cannot_be_smuggled_in_from_an_upstream() -> None:
    headers = "x-request-id: evil\r\nset-cookie: a=b\r\nx-ratelimit-limit-requests: 9\r\nserver: s\r\n"

    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert answer.headers["x-request-id"] != "evil"
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        assert not answer.headers.keys() & {"set-cookie", "server"}

    with_upstream(scenario, reply(completion(), headers=headers))
