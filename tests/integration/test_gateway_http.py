"""What passes through the gateway on real sockets, and what it accounts."""

import msgspec
import pytest

from tests.serving.running import (
    CHAT,
    STREAM,
    USAGE,
    Running,
    Upstream,
    chunked,
    completion,
    event,
    raw,
    reply,
    streamed,
    with_upstream,
)


def test_a_reply_passes_byte_for_byte_and_its_cost_is_told() -> None:
    body = (
        b'{"id" : "chatcmpl-9","object":"chat.completion","model":"m-1",\n "choices":[{"index":0,"finish_reason":"stop"'
        b',"message":{"content":"\\u00e9 \xc3\xa9 1.50"}}], "usage":{"prompt_tokens":5,"completion_tokens":2},"x":1e2}'
    )

    async def scenario(gateway: Running, up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["x-tokenledger-cost"] == "1234"
        assert answer.headers["x-route"] == "up"
        assert answer.headers["x-ratelimit-limit-requests"] == "60"
        intent, outcome = gateway.memory.intents[0], gateway.memory.outcomes[0]
        assert answer.headers["x-tokenledger-event"] == intent.event_id
        assert answer.headers["x-request-id"] == intent.operation_id
        assert (intent.attempt_no, intent.attempt_role, intent.reserved_usd_pico) == (1, "primary", 1_000)
        assert intent.input_tokens_estimate == len(up.received[0].body)
        assert outcome.reply is not None
        assert msgspec.json.decode(outcome.reply) == {
            "id": "chatcmpl-9", "object": "chat.completion", "model": "m-1",
            "usage": {"prompt_tokens": 5, "completion_tokens": 2}, "choices": [{"index": 0, "finish_reason": "stop"}],
        }  # fmt: skip
        assert outcome.timings_us.keys() >= {"admit", "total"}

    with_upstream(scenario, reply(body))


def test_the_request_passes_byte_for_byte_where_nothing_must_change() -> None:
    body = (
        b'{ "model" : "m", "messages":[{"role":"user","content":"\xc3\xa9"}], "temperature":0.70, "tools":[{"a":1.0}] }'
    )

    async def scenario(gateway: Running, up: Upstream) -> None:
        await gateway.post(
            body,
            headers="x-api-key: secret\r\ncookie: a=b\r\nx-evil: 1\r\ntraceparent: 00-"
            "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        )
        [received] = up.received
        assert received.body == body
        assert received.headers.keys() == {
            *(b"host", b"traceparent", b"user-agent", b"content-type", b"accept", b"x-request-id", b"content-length"),
        }
        intent = gateway.memory.intents[0]
        assert (intent.trace_id, intent.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")

    with_upstream(scenario, reply(completion()))


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_is_always_asked_for_and_shown_only_to_who_asked(*, wanted: bool) -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        answer = await gateway.post(CHAT | {"stream": True} | options)
        assert up.received[0].json["stream_options"] == {"include_usage": True}
        assert answer.headers["content-type"].startswith("text/event-stream")
        if wanted:
            assert answer.body == b"".join(STREAM)
        else:
            assert answer.body == b"".join((
                event({"role": "assistant", "content": ""}), event({"content": "he"}), event({"content": "llo"}),
                event({}, finish="stop"), b"data: [DONE]\n\n",
            ))  # fmt: skip
        outcome = gateway.memory.outcomes[0]
        assert outcome.reply is not None
        reply_ = msgspec.json.decode(outcome.reply)
        assert (reply_["usage"], reply_["object"]) == (USAGE, "chat.completion")
        assert reply_["choices"] == [{"index": 0, "finish_reason": "stop"}]
        assert (outcome.output_chunks, len(outcome.token_times_us), outcome.aborted) == (2, 2, False)
        assert outcome.first_token_at_us == outcome.token_times_us[0]

    with_upstream(scenario, streamed(*STREAM, pause_s=0.01))


def test_other_stream_options_stay() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        await gateway.post(CHAT | {"stream": True, "stream_options": {"include_obfuscation": False}})
        assert up.received[0].json["stream_options"] == {"include_obfuscation": False, "include_usage": True}

    with_upstream(scenario, streamed(*STREAM))


def test_tools_pass_in_both_directions() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "n": 1.0}}}]
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"model": "x"}'}}
    events = (event({"role": "assistant", "content": None, "tool_calls": [call]}), event({}, finish="tool_calls"),
              event(usage=USAGE), b"data: [DONE]\n\n")  # fmt: skip

    async def scenario(gateway: Running, up: Upstream) -> None:
        answer = await gateway.post(CHAT | {"stream": True, "tools": tools, "tool_choice": "auto"})
        assert up.received[0].json["tools"] == tools
        assert answer.body == events[0] + events[1] + events[3]
        assert gateway.memory.outcomes[0].output_chunks == 1

    with_upstream(scenario, streamed(*events))


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_a_reply_may_be_framed_in_every_way(framing: str) -> None:
    body = msgspec.json.encode(completion("x" * 300_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    steps = {
        "length": raw(head + b"content-length: %d\r\n\r\n" % len(body), body[:7], body[7:], pause_s=0.01),
        "chunks": raw(
            head + b"transfer-encoding: chunked\r\n\r\n", chunked(body[:9]), chunked(body[9:]) + b"0\r\n\r\n"
        ),
        "close": raw(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", head + b"\r\n", body, close=True),
    }

    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.body) == (200, body)

    with_upstream(scenario, steps[framing])


def test_one_connection_to_the_upstream_serves_many_requests() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        for _ in range(20):
            assert (await gateway.post(CHAT)).status == 200
        assert (up.connections, len(up.received)) == (1, 20)

    with_upstream(scenario, reply(completion()))


def test_embeddings_and_models() -> None:
    body = {"object": "list", "model": "m-1", "data": [{"index": 0, "embedding": [0.1]}], "usage": {"prompt_tokens": 3}}

    async def scenario(gateway: Running, up: Upstream) -> None:
        answer = await gateway.post({"model": "m", "input": "hello"}, path="/v1/embeddings")
        assert answer.json == body
        assert up.received[0].head.startswith(b"POST /v1/embeddings HTTP/1.1\r\n")
        assert (gateway.memory.intents[0].api, gateway.memory.intents[0].output_tokens_limit) == ("embeddings", 0)
        listed = await gateway.get("/v1/models")
        assert listed.json == {"object": "list", "data": [
            {"id": "m", "object": "model", "created": 0, "owned_by": "tokenledger"}]}  # fmt: skip
        assert (await gateway.get("/v1/models/m")).json["id"] == "m"
        assert (await gateway.get("/v1/models/other")).error["code"] == "model_not_found"
        assert (await gateway.get("/v1/models", headers="")).status == 401

    with_upstream(scenario, reply(body))
