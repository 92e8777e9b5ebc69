"""What the gateway refuses on real sockets before any upstream hears of it."""

import msgspec

from tests.serving.running import CHAT, Running, Upstream, chunked, completion, reply, request, with_upstream

REFUSED: dict[str, tuple[bytes, int, str | None]] = {
    "no JSON": (b"{", 400, "invalid_json"),
    "an array": (b"[1]", 400, "invalid_json"),
    "a number": (b"1", 400, "invalid_json"),
    "nothing": (b"", 400, "invalid_json"),
    "no UTF-8": (b'{"model":"m","messages":[],"x":"\xff"}', 400, "invalid_json"),
    "no model": (b'{"messages":[]}', 400, "missing_required_parameter"),
    "no messages": (b'{"model":"m"}', 400, "missing_required_parameter"),
    "a model that is a number": (b'{"model":1,"messages":[]}', 400, "invalid_value"),
    "no tokens at all": (b'{"model":"m","messages":[],"max_tokens":0}', 400, "invalid_value"),
    "a stream that is a number": (b'{"model":"m","messages":[],"stream":1}', 400, "invalid_value"),
    "too deep": (b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
    "an unknown model": (b'{"model":"nope","messages":[]}', 404, "model_not_found"),
    "a lone surrogate": (b'{"model":"\\ud800","messages":[]}', 400, "invalid_json"),
    "NaN": (b'{"model":"m","messages":[],"temperature":NaN}', 400, "invalid_json"),
}


def test_what_cannot_be_understood_is_refused_before_any_upstream() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        for what, (body, status, code) in REFUSED.items():
            answer = await gateway.post(body)
            assert (answer.status, answer.error["code"]) == (status, code), what
            assert answer.headers["x-should-retry"] == "false"
        assert (up.received, gateway.memory.intents) == ([], [])

    with_upstream(scenario, reply(completion()))


def test_paths_and_methods_that_do_not_exist_are_clean_errors() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        for path in ("/", "/v1", "/v1/completions", "/v1/responses", "/v1/chat/completions/", "/v1/%2e%2e/x"):
            assert (await gateway.get(path)).error["code"] == "unknown_url", path
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            for method in ("GET", "PUT", "DELETE", "PATCH"):
                answer = await gateway.get(path, method)
                assert (answer.status, answer.headers["allow"]) == (405, "POST")
                assert answer.error["type"] == "invalid_request_error"
        assert (await gateway.get("/v1/models", "POST")).status == 405
        assert (await gateway.get("/healthz")).body == b"ok\n"
        assert b"tokenledger_gateway_refusals_total" in (await gateway.get("/metrics")).body

    with_upstream(scenario, reply(completion()))


def test_a_wrong_key_is_refused() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        for header in ("authorization: Bearer bad\r\n", "authorization: \r\n", "authorization: Basic Z29vZA==\r\n"):
            answer = await gateway.post(CHAT, headers=header)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert up.received == []

    with_upstream(scenario, reply(completion()))


def test_a_sane_request_id_is_repeated_and_another_is_replaced() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        answer = await gateway.post(CHAT, headers="x-request-id: mine-1\r\n")
        assert answer.headers["x-request-id"] == "mine-1"
        assert gateway.memory.intents[0].operation_id == "mine-1"
        for bad in ("a b", "x" * 200, "<script>", ""):
            answer = await gateway.post(CHAT, headers=f"x-request-id: {bad}\r\n")
            assert answer.headers["x-request-id"] not in {bad, ""}

    with_upstream(scenario, reply(completion()))


def test_a_key_said_twice_reaches_the_upstream_once() -> None:
    """Else the one who accounts and the one who answers could read different models."""

    async def scenario(gateway: Running, up: Upstream) -> None:
        await gateway.post(b'{"model":"dear","messages":[],"max_tokens":9,"model":"m","max_t\\u006fkens":7}')
        assert up.received[0].body == b'{"model":"m","messages":[],"max_tokens":7}'
        assert gateway.memory.intents[0].output_tokens_limit == 7

    with_upstream(scenario, reply(completion()))


def test_sizes_are_bounded() -> None:
    limits = "limits.body_bytes = 1000\nlimits.head_bytes = 2000\nlimits.reply_bytes = 5000\n"

    async def scenario(gateway: Running, up: Upstream) -> None:
        large = CHAT | {"x": "y" * 1000}
        answer = await gateway.post(large)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        body = msgspec.json.encode(large)
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert b" 413 " in (await gateway.raw(head + chunked(body) + b"0\r\n\r\n"))[:20]
        assert b" 431 " in (await gateway.raw(b"GET / HTTP/1.1\r\nx: " + b"y" * 3000))[:20]
        assert up.received == []
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (502, "upstream_reply_too_large")

    with_upstream(scenario, reply(completion("x" * 6000)), more=limits)


def test_what_arrives_too_slowly_is_cut_off() -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        for data in (b"POST /v1/chat/completions HTTP/1.1\r\nhost:", request(CHAT)[:-10]):
            answer = await gateway.raw(data)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"error"' in answer
        assert up.received == []

    with_upstream(scenario, reply(completion()), more="limits.request_ms = 200\n")


def test_nonsense_is_no_http() -> None:
    async def scenario(gateway: Running, _up: Upstream) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\na\x00b: c\r\n\r\n",
        ):
            answer = await gateway.raw(data)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"x-request-id: " in answer

    with_upstream(scenario, reply(completion()))
