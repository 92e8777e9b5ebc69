"""Feast's layout in bytes: golden ones, what is refused, and any bytes at all."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.redis_layout import (
    DECODERS,
    MAX_KEY_VALUE_BYTES,
    decoded_float,
    decoded_int,
    decoded_str,
    decoded_timestamp,
    encoded,
    encoded_timestamp,
    entity_key,
    feature_field,
    key_frame,
    murmur3_32,
    timestamp_field,
)

_FRAME = key_frame("tokenledger", ("provider", "model"))


def test_a_key_is_these_bytes() -> None:
    """Two join keys, sorted; each name and value with type and length; the project at the end."""
    parts = [
        b"\x02\0\0\0",
        b"\x02\0\0\0\x05\0\0\0model",
        b"\x02\0\0\0\x08\0\0\0provider",
        b"\x02\0\0\0\x06\0\0\0gpt-4o",
        b"\x02\0\0\0\x06\0\0\0openai",
        b"tokenledger",
    ]
    assert entity_key(_FRAME, ("openai", "gpt-4o")) == b"".join(parts)


def test_fields_and_values_are_these_bytes() -> None:
    assert feature_field("model_traffic_1m", "calls").hex() == "765c77b1"
    assert timestamp_field("model_traffic_1m") == b"_ts:model_traffic_1m"
    assert encoded(None) == b""
    assert encoded(0) == b"\x20\x00"
    assert encoded(300) == b"\x20\xac\x02"
    assert encoded(-1) == b"\x20" + b"\xff" * 9 + b"\x01"
    assert encoded(0.5) == b"\x29\0\0\0\0\0\0\xe0\x3f"
    assert encoded("é") == b"\x12\x02\xc3\xa9"
    assert encoded(value=True) == b"\x38\x01"
    assert encoded_timestamp(1_700_000_000_000_001).hex() == "0880e2cfaa0610e807"
    assert encoded_timestamp(0) == b""


def test_murmur_agrees_with_its_published_values() -> None:
    assert [murmur3_32(text) for text in (b"", b"test", b"Hello, world!")] == [0, 0xBA6BD213, 0xC0363E43]


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text()))
def test_a_value_comes_back_as_it_was(value: float | str) -> None:
    decode: Callable[[bytes | None], Any] = DECODERS[type(value)]
    assert decode(encoded(value)) == value


@given(st.integers(-(10**12), 2**62))
def test_an_instant_comes_back_as_it_was(at_us: int) -> None:
    assert decoded_timestamp(encoded_timestamp(at_us)) == at_us


@given(st.binary(max_size=24))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    decoders: list[Callable[[bytes], Any]] = [*DECODERS.values(), decoded_timestamp]
    for decode in decoders:
        try:
            found = decode(data)
        except ValueError:
            continue
        assert found is None or not isinstance(found, float) or math.isfinite(found)


@given(st.tuples(st.text(max_size=40), st.text(max_size=40)), st.tuples(st.text(max_size=40), st.text(max_size=40)))
def test_no_two_entities_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Names hold separators, other names, the project's name: lengths stand before them."""
    assert (entity_key(_FRAME, one) == entity_key(_FRAME, other)) == (one == other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 2**63, -(2**63) - 1])
def test_what_no_reader_should_get_is_not_encoded(value: float) -> None:
    with pytest.raises(ValueError, match="leave it null"):
        encoded(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_others_wrote_is_not_believed_either(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        decoded_float(b"\x29" + struct.pack("<d", number))


@pytest.mark.parametrize("value", [b"\x29\0", b"\x12\x05ab", b"\x20", b"\x20\xff", b"\xff", encoded(0.5)])
def test_a_value_of_another_shape_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"no Feast value|ends inside"):
        decoded_int(value)


def test_an_absent_and_a_null_value_are_none() -> None:
    assert [decode(value) for decode in (decoded_int, decoded_float, decoded_str) for value in (None, b"")] == [
        None
    ] * 6


@pytest.mark.parametrize(
    "name", ["x" * 10_000, "é" * (MAX_KEY_VALUE_BYTES // 2 + 1), "\ud800"], ids=["10 kB", "just too long", "no text"]
)
def test_a_name_that_is_too_long_or_no_text_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"at most 1024|surrogates"):
        entity_key(_FRAME, ("openai", name))


def test_an_entity_has_as_many_values_as_the_view_join_keys() -> None:
    with pytest.raises(ValueError, match="1 values; the view has 2"):
        entity_key(_FRAME, ("openai",))
