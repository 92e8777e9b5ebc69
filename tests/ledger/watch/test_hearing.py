"""Headers of strangers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.watch.hearing import heard

_PLAIN = [("ce_source", b"/app"), ("ce_epoch", b"start-1"), ("ce_sequence", b"7"), ("ce_id", b"e7")]


def test_a_record_is_heard_as_its_headers_say() -> None:
    one = heard([*_PLAIN, ("ce_tenantid", b"acme")], 5)
    assert one == ("acme", "/app", "start-1", 7, "e7", 5, False)


def test_a_source_that_ends_in_its_epoch_is_one_source_through_all_its_starts() -> None:
    one = heard([("ce_source", b"gateway/0af3"), ("ce_epoch", b"0af3"), ("ce_sequence", b"1")], 5)
    assert (one.ce_source, one.epoch) == ("gateway", "0af3")


@pytest.mark.parametrize("number", [b"", b"-1", b"1.5", b"9" * 19, b"\xff", "٣".encode(), None, b" 7"])
def test_what_is_no_number_is_none(number: bytes | None) -> None:
    assert heard([("ce_source", b"/app"), ("ce_sequence", number)], 5).number is None


def test_nobody_can_pass_for_a_guessed_epoch() -> None:
    assert heard([("ce_source", b"/app"), ("ce_epoch", b"~~1")], 5).epoch == "1"
    assert heard([("ce_source", b"/app"), ("ce_epoch", b"~")], 5).epoch is None


def test_a_replay_is_told_from_a_word_of_the_source() -> None:
    assert heard([*_PLAIN, ("attempt_no", b"1")], 5).again


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ce_source", "ce_epoch", "ce_id", "ce_tenantid", "ce_sequence"]), st.binary() | st.none()
        )
    )
)
def test_any_headers_give_what_the_ledger_can_store(headers: list[tuple[str, str | bytes | None]]) -> None:
    one = heard(headers, 5)
    for text in (one.tenant_id, one.ce_source, one.epoch or "", one.event_id):
        assert "\0" not in text
        assert len(text) <= 256
        text.encode()
    assert one.number is None or 0 <= one.number < 2**63
