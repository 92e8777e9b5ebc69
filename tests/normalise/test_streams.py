"""Raw stream text becomes events; pieces of text are passed over, and nothing else is."""

import json

import pytest

from tokenledger.normalise.reading import BadRecordError
from tokenledger.normalise.streams import read_stream


def _chunk(content: str | None, finish: str | None = None, **fields: object) -> str:
    delta = {"content": content} if content is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({"id": "c1", "choices": [choice], **fields}, separators=(",", ":")) + "\n\n"


def test_pieces_of_text_are_passed_over_and_the_rest_is_read() -> None:
    text = (
        _chunk("Hel")
        + _chunk("lo")
        + _chunk(None, "stop")
        + _chunk("", usage={"prompt_tokens": 1})
        + "data: [DONE]\n\n"
    )
    assert [event.data["choices"][0]["finish_reason"] for event in read_stream(text)] == [None, "stop", None]


def test_a_piece_of_text_with_usage_or_an_end_is_read() -> None:
    assert len(read_stream(_chunk("a") + _chunk("x", usage={"total_tokens": 3}))) == 2
    assert len(read_stream(_chunk("a") + _chunk("x", "length"))) == 2


def test_a_stream_cut_within_its_text_still_has_its_first_event() -> None:
    assert len(read_stream(_chunk("a") + _chunk("b") + _chunk("c"))) == 1


def test_a_text_that_imitates_a_marker_hides_nothing() -> None:
    sly = _chunk('"type":"content_block_delta"', "stop")
    assert len(read_stream(_chunk("a") + sly)) == 2


def test_lines_end_in_any_way_and_json_may_hold_line_separators() -> None:
    for end in ("\n", "\r\n", "\r"):
        ping = f'event: ping{end}data: {{"type": "ping", "note": "a\u2028b"}}{end}{end}'
        text = ping + f'data: {{"n":{end}data: 2}}{end}{end}'
        events = read_stream(text)
        assert [(event.name, event.data) for event in events] == [
            ("ping", {"type": "ping", "note": "a\u2028b"}),
            (None, {"n": 2}),
        ]


def test_ndjson_and_a_cut_array_are_read() -> None:
    assert [event.data for event in read_stream('{"a":"x\u2028y"}\n\n{"b":2}\n{"c":')] == [{"a": "x\u2028y"}, {"b": 2}]
    assert [event.data for event in read_stream('[{"a":1},\n{"b":2},')] == [{"a": 1}, {"b": 2}]


def test_a_text_without_events_is_refused() -> None:
    with pytest.raises(BadRecordError):
        read_stream("hello")
