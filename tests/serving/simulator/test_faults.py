"""A running simulator, asked over plain HTTP: each way to fail looks on the wire as it says, and the journal tells."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from serving.simulator.config import Fault
from serving.simulator.journal import Entry
from serving.simulator.process import Fleet, running

_TIERS = """
[[tiers]]
name = "quick"
models = ["gpt-4o-mini"]
slots = 2
queue_limit = 1
ttft_us_p50 = 1_000
tpot_us_p50 = 100
stall_us = 100_000
"""
_QUESTION = {"role": "user", "content": "What is 12 + 30?"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running(_TIERS, tmp_path_factory.mktemp("simulator")) as started:
        yield started


class Got:
    """What came back: status, headers, body, and whether the connection broke off in the middle."""

    def __init__(self, fleet: Fleet, fault: str, **fields: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", fleet.ports["quick"], timeout=5)
        body = {"model": "gpt-4o-mini", "messages": [_QUESTION], "max_tokens": 6, "user": fault, **fields}
        self.broken, self.status, self.body = False, 0, b""
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"x-simulate": fault})
            reply = connection.getresponse()
            self.status, self.headers = reply.status, reply.headers
            self.body = reply.read()
        except http.client.IncompleteRead as error:
            self.broken, self.body = True, error.partial
        except http.client.RemoteDisconnected:
            self.broken = True
        finally:
            connection.close()

    @property
    def events(self) -> list[Any]:
        """The JSON events of a stream."""
        lines = [line.removeprefix(b"data: ") for line in self.body.split(b"\n\n") if line]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def usages(self) -> list[Any]:
        """Every usage object of a stream."""
        return [event["usage"] for event in self.events if event.get("usage")]


def _streamed(fleet: Fleet, fault: str) -> Got:
    return Got(fleet, fault, stream=True, stream_options={"include_usage": True})


def _last(fleet: Fleet) -> Entry:
    fleet.wait_until_idle()
    return fleet.journal()[-1]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.RATE_LIMITED, 429, "rate_limit_exceeded"),
        (Fault.OUT_OF_QUOTA, 429, "insufficient_quota"),
        (Fault.SERVER_ERROR, 500, None),
        (Fault.UNAVAILABLE, 503, "overloaded"),
        (Fault.ERROR_IN_200, 200, None),
    ],
)
def test_an_error_is_an_error_object(fleet: Fleet, fault: Fault, status: int, code: str | None) -> None:
    got = Got(fleet, fault)
    assert got.status == status
    assert json.loads(got.body)["error"]["code"] == code
    assert (got.headers.get("retry-after") is not None) == (status in {429, 503})
    assert _last(fleet).outcome == fault.value


def test_a_page_of_a_proxy_is_no_json(fleet: Fleet) -> None:
    got = Got(fleet, Fault.NOT_JSON)
    assert (got.status, got.body[:6]) == (502, b"<html>")


def test_a_slow_answer_is_whole(fleet: Fleet) -> None:
    got = Got(fleet, Fault.SLOW_HEADERS)
    assert json.loads(got.body)["choices"][0]["finish_reason"] == "length"
    entry = _last(fleet)
    assert entry.ended_at_us - entry.arrived_at_us >= 100_000


def test_a_connection_can_end_without_an_answer(fleet: Fleet) -> None:
    got = Got(fleet, Fault.CLOSED_EARLY)
    assert (got.broken, got.status) == (True, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_can_end_in_the_middle_of_an_answer(fleet: Fleet, stream: bool) -> None:  # noqa: FBT001 - a case
    got = Got(fleet, Fault.CLOSED_MID_BODY, stream=stream)
    assert (got.broken, got.status) == (True, 200)
    assert b'"chatcmpl-' in got.body
    assert b'finish_reason":"' not in got.body


def test_a_truncated_stream_ends_well_but_early(fleet: Fleet) -> None:
    got = _streamed(fleet, Fault.TRUNCATED)
    assert not got.broken
    assert b"[DONE]" not in got.body
    assert {event["choices"][0]["finish_reason"] for event in got.events} == {None}
    assert 0 < _last(fleet).pieces_sent < 6


def test_a_stream_can_end_in_an_error_event(fleet: Fleet) -> None:
    got = _streamed(fleet, Fault.ERROR_IN_200)
    assert got.events[-1]["error"]["type"] == "server_error"


def test_a_hanging_stream_sends_one_token_and_keeps_the_connection(fleet: Fleet) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [_QUESTION], "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-simulate: {Fault.HANG}\r\ncontent-length: {len(body)}"
    with socket.create_connection(("127.0.0.1", fleet.ports["quick"]), timeout=5) as caller:
        caller.sendall(f"{head}\r\n\r\n{body}".encode())
        received = b""
        while b'"content":"Answer:"' not in received:
            received += caller.recv(65536)
        caller.settimeout(0.3)
        with pytest.raises(TimeoutError):
            caller.recv(65536)
    assert _last(fleet).outcome == Fault.HANG


def test_usage_can_be_missing(fleet: Fleet) -> None:
    assert "usage" not in json.loads(Got(fleet, Fault.USAGE_MISSING).body)
    assert _streamed(fleet, Fault.USAGE_MISSING).usages == []
    entry = _last(fleet)
    assert (entry.usage, entry.completion_tokens) == (None, 6)


def test_usage_can_be_reported_twice(fleet: Fleet) -> None:
    first, second = _streamed(fleet, Fault.USAGE_DOUBLED).usages
    assert first == second
    usage = json.loads(Got(fleet, Fault.USAGE_DOUBLED).body)["usage"]
    assert usage["total_tokens"] == 2 * (usage["prompt_tokens"] + usage["completion_tokens"])


def test_usage_can_be_negative(fleet: Fleet) -> None:
    usage = json.loads(Got(fleet, Fault.USAGE_NEGATIVE).body)["usage"]
    assert usage["completion_tokens"] == -6
    assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"]


def test_a_tier_can_be_made_faulty_and_well_again_while_it_runs(fleet: Fleet) -> None:
    fleet.change("quick", faults={"server_error": 1.0})
    assert Got(fleet, "").status == 500
    fleet.change("quick", faults={})
    assert Got(fleet, "").status == 200


def test_a_fault_can_be_asked_for_in_the_body_which_gateways_pass_on(fleet: Fleet) -> None:
    assert Got(fleet, "", metadata={"simulate": "server_error"}).status == 500


def test_a_tier_can_refuse_connections_and_take_them_again_on_its_port(fleet: Fleet) -> None:
    assert fleet.change("quick", listening=False)["listening"] is False
    with pytest.raises(ConnectionRefusedError):
        Got(fleet, "")
    fleet.change("quick", listening=True)
    assert Got(fleet, "").status == 200


def test_the_controls_say_what_they_do_not_take(fleet: Fleet) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        fleet.change("quick", faults={"server_error": 0.9, "rate_limited": 0.2})
    with pytest.raises(ValueError, match="unknown field `speed`"):
        fleet.change("quick", speed=3)


def test_a_full_queue_is_told_so(fleet: Fleet) -> None:
    fleet.change("quick", slowdown=100_000)
    body = json.dumps({"model": "gpt-4o-mini", "messages": [_QUESTION]})
    with ExitStack() as open_calls:
        for _ in range(3):
            caller = http.client.HTTPConnection("127.0.0.1", fleet.ports["quick"], timeout=5)
            open_calls.callback(caller.close)
            caller.request("POST", "/v1/chat/completions", body)
        deadline = time.monotonic() + 10
        while (state := fleet.state()["quick"])["active"] + state["waiting"] < 3:
            assert time.monotonic() < deadline, state
        assert (state["active"], state["waiting"]) == (2, 1)
        assert Got(fleet, "").status == 503
    fleet.change("quick", slowdown=1)
    fleet.wait_until_idle()
    assert [entry.outcome for entry in fleet.journal()[-3:]] == ["disconnected"] * 3


def test_the_journal_has_what_the_caller_was_told(fleet: Fleet) -> None:
    got = _streamed(fleet, "none such")
    entry = _last(fleet)
    assert (entry.outcome, entry.http_status, entry.user) == ("complete", 200, "none such")
    assert entry.usage == got.usages[0]
    assert entry.id == got.events[0]["id"]
    assert all(event["usage"] is None for event in got.events[:-1])
    assert got.events[-1]["choices"] == []


def test_a_caller_with_no_manners_is_hung_up_on(fleet: Fleet) -> None:
    with socket.create_connection(("127.0.0.1", fleet.ports["quick"]), timeout=5) as caller:
        caller.sendall(b"\x00\x01\x02 no http\r\n\r\n")
        assert caller.recv(100) == b""
