"""Streams cut anywhere by the network come out whole, with and without their usage."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.sse import Stream, events
from tests.serving.running import STREAM, USAGE, event

TEXTS = st.text(max_size=20) | st.sampled_from(
    ['"usage":null', ',"usage":null}\n\n', "data: [DONE]", '"finish_reason":"stop"', '"error"', "\r\n\r\n", "a\n\nb"]
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def passed(pieces: list[bytes], *, wanted: bool) -> tuple[bytes, Stream]:
    stream = Stream(usage_wanted=wanted)
    out = b"".join(stream.feed(piece, at) for at, piece in enumerate(pieces, 1))
    return out + stream.close(len(pieces)), stream


@pytest.mark.slow
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    places=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
    wanted=st.booleans(),
    null_usage=st.booleans(),
    separator=st.sampled_from([b"\n\n", b"\r\n\r\n"]),
)
def test_a_stream_is_the_same_wherever_it_is_cut(
    *, texts: list[str], places: list[int], wanted: bool, null_usage: bool, separator: bytes
) -> None:
    """What the caller sees, and what the ledger learns, hang on the events alone."""
    more = {"usage": None} if null_usage else {}
    content = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
    shown = [*(event(delta) for delta in content), event({}, finish="stop")]
    sent = [*(event(delta, **more) for delta in content), event({}, finish="stop", **more), event(usage=USAGE)]
    done = b"data: [DONE]\n\n"
    data = b"".join([*sent, done]).replace(b"\n\n", separator)
    out, stream = passed(cut(data, places), wanted=wanted)
    expected = b"".join([*sent, done]) if wanted else b"".join([*shown, done])
    assert out.replace(b"\r\n\r\n", b"\n\n") == expected
    assert stream.done
    assert stream.chunks == len([text for text in texts if text]) or "" in texts
    facts = stream.facts.encoded()
    assert facts is not None
    assert msgspec.json.decode(facts)["usage"] == USAGE
    assert len(stream.times_us) == min(stream.chunks, 64)


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0, max_value=300), max_size=5))
def test_any_bytes_pass_without_an_exception(data: bytes, places: list[int]) -> None:
    out, _ = passed(cut(data, places), wanted=True)
    assert out == data or out.strip() == data.strip()


@given(
    places=st.lists(st.integers(min_value=0, max_value=2_000), max_size=6),
    ends=st.lists(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"]), min_size=7, max_size=7),
)
def test_events_that_end_in_different_ways_are_each_seen(places: list[int], ends: list[bytes]) -> None:
    """A proxy's own comments may end otherwise than the upstream's events."""
    told = (*STREAM[:5], b": ping\n\n", STREAM[5])
    data = b"".join(one[:-2] + end for one, end in zip(told, ends, strict=True))
    out, stream = passed(cut(data, places), wanted=True)
    assert (out, stream.done, stream.chunks, stream.facts.finishes) == (data, True, 2, {0: "stop"})
    assert stream.facts.has_usage


def test_a_comment_in_the_same_read_hides_no_usage() -> None:
    data = b"".join(STREAM[3:5]) + b": ping\r\n\r\n"
    assert events(data) == [STREAM[3], STREAM[4], b": ping\r\n\r\n"]
    assert passed([*STREAM[:3], data], wanted=True)[1].facts.has_usage


def test_usage_before_another_member_is_taken_out_too() -> None:
    data = event({"content": "x"}, usage=None, obfuscation="abc")
    assert passed([STREAM[0], data], wanted=False)[0].endswith(event({"content": "x"}, obfuscation="abc"))


def test_usage_on_the_last_chunk_with_choices_is_known_and_hidden() -> None:
    out, stream = passed([STREAM[0], event({"content": "x"}, finish="stop", usage=USAGE)], wanted=False)
    assert out.endswith(event({"content": "x"}, finish="stop"))
    assert stream.facts.has_usage


def test_usage_told_with_each_chunk_counts_as_last_told() -> None:
    first, last = USAGE | {"completion_tokens": 1}, USAGE | {"completion_tokens": 9}
    _, stream = passed([event({"content": "a"}, usage=first), event({"content": "b"}, usage=last)], wanted=True)
    facts = stream.facts.encoded()
    assert facts is not None
    assert msgspec.json.decode(facts)["usage"] == last


def test_times_are_kept_of_the_first_sixty_four_chunks() -> None:
    _, stream = passed([event({"content": "x"})] * 100, wanted=True)
    assert (stream.chunks, stream.times_us) == (100, list(range(1, 65)))


def test_chunks_that_come_together_came_at_one_instant() -> None:
    _, stream = passed([STREAM[0], event({"content": "a"}) * 3], wanted=True)
    assert stream.times_us == [2, 2, 2]


@pytest.mark.parametrize("ending", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n\r\n"])
def test_an_end_without_an_empty_line_is_an_end(ending: bytes) -> None:
    out, stream = passed([*STREAM[:4], ending], wanted=True)
    assert stream.done
    assert out.endswith(ending)


def test_texts_stay_out_of_what_the_ledger_gets() -> None:
    _, stream = passed([event({"content": "secret"}), event({"content": "secret"}, finish="stop")], wanted=True)
    facts = stream.facts.encoded()
    assert facts is not None
    assert b"secret" not in bytes(facts)
