"""What a raw record becomes in the lake, and why some become nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.lake.consent import parse_consent
from ledger.lake.redaction import VERSION, Finding, Redactor
from ledger.lake.schema import PlacedText
from ledger.lake.taking import FAILED, NOT_ALLOWED, REJECTED, UNREADABLE, take_call, take_text
from ledger.lake.users import Users
from tests.ledger.samples import call, priced
from tokenledger.records import RawEvent
from tokenledger.records.wire import encode_priced
from tokenledger.texts import Unread

USERS = Users(b"k" * 32)
ACME = parse_consent("[tenants.acme]\ncapture_texts = true", name="c")
AT_US = 1_795_000_000_000_000
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Done."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}


def raw(said: str = "Hello", *, tenant: str = "acme", **fields: Any) -> RawEvent:
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": said}]}
    body = {"provider": "openai", "request": request, "response": REPLY, "started_at_us": AT_US} | fields
    return RawEvent(
        value=json.dumps(body).encode(),
        headers={"ce_id": b"e1", "ce_source": b"app", "ce_tenantid": tenant.encode(), "ce_type": b"llm.call.v1"},
        topic="llm.raw.v1",
        partition=2,
        offset=9,
        append_at_us=AT_US + 1,
    )


def taken(event: RawEvent, redactor: Redactor | None = None) -> PlacedText | str:
    return take_text(event, ACME, users=USERS, redactor=redactor or Redactor())


def test_a_text_says_whose_it_is_and_where_its_record_stands() -> None:
    found = taken(
        raw(user_id="anna", session_id="s", feature="chat", operation_id="o", attempt_no=2, route_tier="small")
    )
    assert isinstance(found, PlacedText)
    text = found.text
    assert (found.topic, found.partition, found.offset, found.charged_at_us) == ("llm.raw.v1", 2, 9, AT_US)
    assert (text.tenant_id, text.event_key, text.model, text.finish_reason) == ("acme", "app#e1", "gpt-4o-mini", "stop")
    assert (text.conversation_id, text.feature, text.operation_id, text.attempt_no) == ("s", "chat", "o", 2)
    assert (text.user_hash, text.route_tier) == (USERS.hash_of("acme", "anna"), "small")
    assert json.loads(text.messages) == [{"role": "user", "content": "Hello"}]
    assert (text.redactions, text.redaction_version) == ({}, VERSION)


def test_a_text_whose_time_cannot_be_believed_lies_where_its_call_is_charged() -> None:
    """More than five minutes ahead of the log: the append time counts, as in the ledger."""
    found = taken(raw(started_at_us=AT_US + 3_600_000_000))
    assert isinstance(found, PlacedText)
    assert found.charged_at_us == AT_US + 1


@pytest.mark.slow
def test_a_conversation_of_megabytes_is_taken_and_a_record_that_was_refused_is_not() -> None:
    found = taken(raw("word " * 780_000))
    assert isinstance(found, PlacedText)
    assert len(found.text.messages) > 3_900_000
    assert taken(raw("word " * 1_000_000)) == REJECTED


def test_a_recogniser_that_fails_withholds_the_text() -> None:
    def broken(text: str) -> Iterator[Finding]:
        raise RuntimeError(text)

    assert taken(raw(), Redactor([broken])) == FAILED


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (raw(tenant="globex"), NOT_ALLOWED),
        (RawEvent(value=raw().value, headers={}), NOT_ALLOWED),
        (raw(response={"usage": {"prompt_tokens": -1}}), REJECTED),
        (raw(request={"model": "gpt-4o-mini"}), Unread.NO_REQUEST.value),
    ],
)
def test_what_gives_no_text_says_why(event: RawEvent, why: str) -> None:
    assert taken(event) == why


def test_a_call_keeps_its_user_as_a_hash_only() -> None:
    record = encode_priced(priced(call(user_id="anna"), offset=0))
    found = take_call(record, USERS, partition=1, offset=5)
    assert not isinstance(found, str)
    assert (found.user_hash, found.partition, found.offset) == (USERS.hash_of("acme", "anna"), 1, 5)
    assert take_call(b"{}", USERS, partition=0, offset=0) == UNREADABLE
    assert take_call(None, USERS, partition=0, offset=0) == UNREADABLE
