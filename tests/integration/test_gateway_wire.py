"""HTTP as clients may speak it, on real sockets: several requests a connection, pieces, old versions, early answers."""

import asyncio

import msgspec

from tests.serving.running import (
    CHAT,
    STREAM,
    Reply,
    Running,
    Upstream,
    completion,
    event,
    raw,
    reply,
    request,
    streamed,
    tuned,
    with_upstream,
)

_LAST = b"GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n"


def test_requests_sent_at_once_are_answered_one_by_one_in_their_order() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        asked = [request(CHAT | {"n": number}) for number in range(1, 6)]
        answer = await gateway.raw(b"".join(asked) + _LAST)
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 6
        assert answer.endswith(b"\r\n\r\nok\n")
        assert [received.json["n"] for received in up.received] == [1, 2, 3, 4, 5]
        assert up.connections == 1, "the second was asked before the first was answered"

    with_upstream(scenario, reply(completion()))


def test_a_request_may_come_byte_by_byte() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        reader, writer = await gateway.send(b"")
        for byte in request(CHAT, headers="connection: close\r\nexpect: 100-continue\r\n"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert up.received[0].body == msgspec.json.encode(CHAT)

    with_upstream(scenario, reply(completion()))


def test_an_old_client_gets_a_stream_without_chunks_that_ends_with_the_connection() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        asked = request(CHAT | {"stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        answer = Reply.of(await gateway.raw(asked))
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert answer.body.startswith(b"data: {")
        assert answer.body.endswith(b"data: [DONE]\n\n")

    with_upstream(scenario, streamed(*STREAM))


def test_a_body_that_is_refused_by_its_length_is_read_to_its_end_and_the_connection_serves_on() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        large = request(CHAT | {"x": "y" * 3_000})
        reader, writer = await gateway.send(large[:500])
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        writer.write(large[500:] + _LAST)
        rest = await reader.read()
        writer.close()
        assert rest.endswith(b"\r\n\r\nok\n")
        assert up.received == []

    with_upstream(scenario, reply(completion()), more="limits.body_bytes = 1000\n")


def test_a_connection_that_is_silent_between_requests_is_closed() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        reader, writer = await gateway.send(request(CHAT) + request(CHAT))
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2

    with_upstream(scenario, reply(completion()), more="limits.idle_ms = 300\n")


def test_events_that_come_together_with_the_end_of_a_stream_are_all_passed_on() -> None:
    whole = b"".join(STREAM)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"

    async def scenario(gateway: Running, _up: Upstream) -> None:
        for _ in range(3):
            answer = await gateway.post(CHAT | {"stream": True, "stream_options": {"include_usage": True}})
            assert answer.body == whole
        assert [outcome.output_chunks for outcome in gateway.memory.outcomes] == [2, 2, 2]

    at_once = raw(head + b"content-length: %d\r\n\r\n" % len(whole) + whole)
    in_two = raw(head + b"content-length: %d\r\n\r\n" % len(whole), whole, pause_s=0.05)
    with_upstream(scenario, at_once, in_two, at_once)


def test_a_stream_whose_total_time_is_over_ends_in_an_error_however_steadily_it_comes() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True})
        assert answer.events[-1]["error"]["code"] == "upstream_total_timeout"
        assert gateway.memory.outcomes[0].error_type == "upstream_total_timeout"

    steady = streamed(STREAM[0], *[event({"content": "x"})] * 500, pause_s=0.01)
    tuned(scenario, steady, settings="total_ms = 400\n")
