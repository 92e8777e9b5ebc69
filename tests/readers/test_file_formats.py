"""Every format of file gives the records in it; the content decides, never the name."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.readers.recordings import (
    CHAT,
    CHAT_USD_PICO,
    MESSAGE,
    MESSAGE_USD_PICO,
    OLLAMA,
    SSE,
    cassette_yaml,
    cloud_event,
    event_stream,
    har,
    lines,
    read_all,
    write,
)
from tokenledger.process import default_context, process
from tokenledger.readers import Found
from tokenledger.records import PricedCall, RawEvent

CHAT_JSON = json.dumps(CHAT)

CHAT_FILES: dict[str, str | bytes] = {
    "one reply": CHAT_JSON,
    "one reply, indented": json.dumps(CHAT, indent=2),
    "an array of replies": json.dumps([CHAT], indent=1),
    "a reply a line": lines(CHAT),
    "a byte order mark": b"\xef\xbb\xbf" + CHAT_JSON.encode(),
    "an envelope a line": lines({"provider": "openai", "response": CHAT}),
    "a CloudEvent a line": lines(cloud_event({"provider": "openai", "response": CHAT})),
    "a CloudEvent, indented": json.dumps(cloud_event({"provider": "openai", "response": CHAT}), indent=2),
    "gzip": gzip.compress(CHAT_JSON.encode()),
    "gzip of gzip": gzip.compress(gzip.compress(lines(CHAT).encode())),
    "raw SSE": SSE,
    "SSE chunks a line": "".join(line[6:] + "\n" for line in SSE.splitlines() if line.startswith("data: {")),
    "a cassette": cassette_yaml(CHAT_JSON.encode()),
    "a cassette with a packed body": cassette_yaml(CHAT_JSON.encode(), encoding="gzip"),
    "a cassette in JSON": json.dumps({
        "version": 1,
        "interactions": [{
            "request": {"uri": "https://api.openai.com/v1/chat/completions", "body": None},
            "response": {"status": {"code": 200}, "headers": {}, "body": {"string": CHAT_JSON}},
        }],
    }),
    "HAR": json.dumps(har(CHAT_JSON), indent=2),
}  # fmt: skip


def price(found: Found) -> PricedCall:
    result = process(found.raw, default_context())
    assert isinstance(result, PricedCall), result
    return result


@pytest.mark.parametrize("content", CHAT_FILES.values(), ids=CHAT_FILES.keys())
def test_the_same_call_costs_the_same_in_every_format(tmp_path: Path, content: str | bytes) -> None:
    path = write(tmp_path, "misleading.png", content)

    found, problems = read_all(path, provider="openai")

    assert problems == []
    assert [price(one).cost_usd_pico for one in found] == [CHAT_USD_PICO]


def test_a_cloud_event_keeps_its_attributes_as_headers(tmp_path: Path) -> None:
    event = cloud_event({"provider": "openai", "response": CHAT}) | {"time": "2025-10-09T08:53:20Z", "sequence": 7}

    [found], _ = read_all(write(tmp_path, "events.jsonl", lines(event)))

    assert found.raw.headers == {
        "ce_id": b"e1",
        "ce_source": b"tests",
        "ce_type": b"llm.call.v1",
        "ce_time": b"2025-10-09T08:53:20Z",
        "ce_tenantid": b"acme",
        "ce_sequence": b"7",
    }
    assert json.loads(found.raw.value or b"") == event["data"]


def test_a_cloud_event_in_base64_is_unpacked(tmp_path: Path) -> None:
    event = cloud_event({}) | {"data_base64": "eyJwcm92aWRlciI6Im9wZW5haSJ9"}
    del event["data"]

    [found], _ = read_all(write(tmp_path, "events.jsonl", lines(event)))

    assert found.raw.value == b'{"provider":"openai"}'


def test_a_record_without_a_tenant_gets_the_one_that_was_asked_for(tmp_path: Path) -> None:
    [found], _ = read_all(write(tmp_path, "a.jsonl", lines(cloud_event({"response": CHAT}, tenant=None))))

    assert found.raw.headers["ce_tenantid"] == b"default"


def test_a_minted_id_depends_on_the_content_and_the_place_in_it_alone(tmp_path: Path) -> None:
    one = write(tmp_path, "one/a.jsonl", lines(CHAT, MESSAGE))
    other = write(tmp_path, "other/b.jsonl", lines(CHAT, MESSAGE))

    ids = [[found.raw.headers["ce_id"] for found in read_all(path)[0]] for path in (one, other)]

    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_a_cassette_gives_url_request_and_date_without_the_query_and_without_texts(tmp_path: Path) -> None:
    [found], _ = read_all(write(tmp_path, "c.yaml", cassette_yaml(CHAT_JSON.encode())), redact=True)

    envelope = json.loads(found.raw.value or b"")
    assert envelope["url"] == "https://api.openai.com/v1/chat/completions"
    assert envelope["request"] == {"model": "gpt-4o-mini", "stream": False}
    assert envelope["http_status"] == 200
    assert found.raw.headers["ce_time"] == b"2025-10-09T08:53:20+00:00"


def test_frames_of_an_aws_event_stream_become_events(tmp_path: Path) -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    body = event_stream(("messageStart", {"role": "assistant"}), ("metadata", {"usage": usage}))
    recorded = cassette_yaml(body, content_type="application/vnd.amazon.eventstream")

    [found], _ = read_all(write(tmp_path, "c.yaml", recorded))

    events = json.loads(found.raw.value or b"")["events"]
    assert [event["event"] for event in events] == ["messageStart", "metadata"]
    assert events[1]["data"]["usage"] == usage


def test_a_har_entry_brings_its_times(tmp_path: Path) -> None:
    [found], _ = read_all(write(tmp_path, "a.har", json.dumps(har(CHAT_JSON))))

    call = price(found).call
    assert call.started_at_us == 1_760_000_000_000_000
    assert call.ended_at_us == 1_760_000_001_500_000


def test_transcripts_one_after_another_are_calls_of_their_own(tmp_path: Path) -> None:
    second = SSE.replace("chatcmpl-S1", "chatcmpl-S2")

    found, _ = read_all(write(tmp_path, "t.sse", SSE + second), provider="openai")

    assert [price(one).call.response_id for one in found] == ["chatcmpl-S1", "chatcmpl-S2"]
    assert {price(one).cost_usd_pico for one in found} == {CHAT_USD_PICO}


def test_chunks_of_ollama_become_one_call_each_time_it_says_done(tmp_path: Path) -> None:
    found, _ = read_all(write(tmp_path, "o.ndjson", OLLAMA + OLLAMA))

    assert [one.line for one in found] == [1, 3]
    assert [price(one).call.usage for one in found] == [{"input.text": 30, "output.text": 7}] * 2


BATCHES: dict[str, tuple[Any, str | None, int]] = {
    "openai": (
        {"id": "batch_req_1", "custom_id": "r1", "response": {"status_code": 200, "request_id": "q", "body": CHAT},
         "error": None},
        "openai",
        CHAT_USD_PICO // 2,
    ),
    "anthropic": (
        {"custom_id": "r1", "result": {"type": "succeeded", "message": MESSAGE}}, None, MESSAGE_USD_PICO // 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "provider", "cost_usd_pico"), BATCHES.values(), ids=BATCHES.keys())
def test_each_line_of_a_batch_result_is_one_call_at_half_price(
    tmp_path: Path, row: Any, provider: str | None, cost_usd_pico: int
) -> None:
    # Prices of a batch are dated in the catalogue; 2026-12-01 lies after every one of these dates.
    text = lines(row, row | {"custom_id": "r2", "id": "batch_req_2"}).replace("1760000000", "1796083200")
    found, _ = read_all(write(tmp_path, "output.jsonl", text), provider=provider)
    moved = [
        Found(one.source_file, one.line, RawEvent(value=one.raw.value, headers=one.raw.headers,
                                                  append_at_us=1_796_083_200_000_000))
        for one in found
    ]  # fmt: skip

    calls = [price(one) for one in moved]

    assert [one.call.processing for one in calls] == ["batch", "batch"]
    assert [one.call.container_part for one in calls] == [0, 1]
    assert len({one.call.container_id for one in calls}) == 1
    assert [one.cost_usd_pico for one in calls] == [cost_usd_pico, cost_usd_pico]


def test_an_expired_request_of_a_batch_costs_nothing(tmp_path: Path) -> None:
    row = {"custom_id": "r1", "result": {"type": "expired"}}

    [found], _ = read_all(write(tmp_path, "output.jsonl", lines(row)))

    result = price(found)
    assert (result.price_status, result.cost_usd_pico) == ("not_billable", 0)


def test_an_otlp_export_gives_its_model_spans_and_leaves_the_others(tmp_path: Path) -> None:
    def attribute(key: str, **value: Any) -> dict[str, Any]:
        return {"key": key, "value": value}

    spans = [
        {"traceId": "t", "spanId": "a1", "name": "GET /", "attributes": [attribute("http.method", stringValue="GET")]},
        {
            "traceId": "t", "spanId": "a2", "name": "chat gpt-4o-mini", "startTimeUnixNano": "1760000000000000000",
            "attributes": [
                attribute("gen_ai.operation.name", stringValue="chat"),
                attribute("gen_ai.provider.name", stringValue="openai"),
                attribute("gen_ai.request.model", stringValue="gpt-4o-mini"),
                attribute("gen_ai.usage.input_tokens", intValue="1000"),
                attribute("gen_ai.usage.output_tokens", intValue="200"),
            ],
        },
    ]  # fmt: skip
    export = {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}

    [found], _ = read_all(write(tmp_path, "traces.json", lines(export)))

    assert found.raw.headers["ce_id"] == b"t-a2"
    assert price(found).cost_usd_pico == CHAT_USD_PICO


def test_a_litellm_payload_is_read_as_one_and_named_by_its_own_id(tmp_path: Path) -> None:
    payload = {
        "id": "chatcmpl-L1", "litellm_call_id": "call-1", "call_type": "acompletion", "response_cost": 0.00027,
        "custom_llm_provider": "openai", "model": "gpt-4o-mini", "status": "success", "startTime": 1_760_000_000.0,
        "endTime": 1_760_000_001.0, "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
        "messages": [{"role": "user", "content": "Weather?"}], "metadata": {},
    }  # fmt: skip

    [found], _ = read_all(write(tmp_path, "spend.jsonl", lines(payload)))

    assert found.raw.headers["ce_id"] == b"call-1"
    assert price(found).cost_usd_pico == CHAT_USD_PICO


def test_a_journal_line_is_the_record_the_log_holds(tmp_path: Path) -> None:
    row = {
        "topic": "llm.raw.v1", "partition": 3, "offset": 41, "append_at_us": 1_760_000_000_123_000, "n": 0,
        "key": "acme/e1", "headers": {"ce_id": "e1", "ce_tenantid": "acme"}, "value": CHAT_JSON,
    }  # fmt: skip
    broken = {name: held for name, held in row.items() if name != "value"} | {"value_base64": "/w=="}
    tombstone = {name: held for name, held in row.items() if name != "value"}

    found, _ = read_all(write(tmp_path, "journal.jsonl", lines(row, broken, tombstone)))

    assert found[0].raw == RawEvent(
        value=CHAT_JSON.encode(),
        headers={"ce_id": b"e1", "ce_tenantid": b"acme"},
        key=b"acme/e1",
        topic="llm.raw.v1",
        partition=3,
        offset=41,
        append_at_us=1_760_000_000_123_000,
    )
    assert [one.raw.value for one in found[1:]] == [b"\xff", None]


def test_a_folder_is_read_in_sorted_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.json", "a/z.json", "a/.hidden.json", ".git/x.json"):
        write(tmp_path, name, CHAT_JSON)

    found, _ = read_all(str(tmp_path))

    assert [Path(one.source_file).relative_to(tmp_path).as_posix() for one in found] == ["a/z.json", "b.json"]


def test_a_pattern_names_files_and_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "logs/a.json", CHAT_JSON)

    found, problems = read_all(str(tmp_path / "**" / "*.json"), path, str(tmp_path / "logs"))

    assert ([one.source_file for one in found], problems) == ([path], [])


def test_stdin_is_a_file_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(lines(CHAT, MESSAGE).encode()))))

    found, problems = read_all("-")

    assert problems == []
    assert [price(one).call.response_id for one in found] == ["chatcmpl-A1", "msg_B1"]


UNREADABLE: dict[str, tuple[str | bytes, str]] = {
    "nothing": (b"", "empty"),
    "blanks": (b" \n\n", "empty"),
    "bytes that are no text": (bytes(range(256)), "unknown_format"),
    "prose": ("Dear diary, it rained in Ulm.", "unknown_format"),
    "YAML that is no cassette": ("interactions: 7\n", "unknown_format"),
    "a cassette that was cut": ("interactions:\n- request: {body: '", "invalid_yaml"),
    "an indented reply that was cut": (json.dumps(CHAT, indent=2)[:150], "invalid_json"),
    "gzip that was cut": (gzip.compress(lines(CHAT).encode() * 500)[:-20], "truncated"),
}


@pytest.mark.parametrize(("content", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_cannot_be_read_is_reported_and_the_others_go_on(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    write(tmp_path, "a.log", content)
    write(tmp_path, "b.json", CHAT_JSON)

    found, problems = read_all(str(tmp_path))

    assert [problem.reason for problem in problems] == [reason]
    assert "Ulm" not in problems[0].detail
    assert Path(found[-1].source_file).name == "b.json"


def test_what_does_not_exist_is_reported_by_name(tmp_path: Path) -> None:
    _, problems = read_all(str(tmp_path / "nowhere.json"), str(tmp_path / "*.har"), str(tmp_path))

    assert [problem.reason for problem in problems] == ["not_found", "not_found", "empty"]


def test_damaged_lines_are_records_of_their_own_among_whole_ones(tmp_path: Path) -> None:
    text = "not json at all\n" + lines(CHAT) + CHAT_JSON[:40] + "\n" + lines(MESSAGE)

    found, problems = read_all(write(tmp_path, "mixed.jsonl", text))

    assert problems == []
    assert [one.line for one in found] == [1, 2, 3, 4]
