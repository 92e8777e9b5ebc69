"""Replies as no upstream should send them: the caller gets what there is, and the attempt its outcome."""

import pytest

from tests.serving.running import CHAT, Running, Upstream, reply, with_upstream


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_a_wait_of_more_digits_than_python_reads_is_passed_on_with_the_upstreams_error(name: str) -> None:
    digits = "9" * 5_000

    async def scenario(gateway: Running, server: Upstream) -> None:
        answered = await gateway.post(CHAT)
        assert (answered.status, answered.json["error"]["message"]) == (429, "busy")
        assert answered.headers[name] == digits
        assert len(server.received) == 1, "it is too long to be waited for"

    with_upstream(scenario, reply({"error": {"message": "busy"}}, status=429, headers=f"{name}: {digits}\r\n"))
