"""One record of a topic → a row of the lake, or why there is none. Pure but for the recognisers it is given."""

from typing import Final

import msgspec

from ledger.charging import NEWEST_US, OLDEST_US, charged_at_us
from ledger.lake.consent import Consent
from ledger.lake.redaction import VERSION, Redactor
from ledger.lake.schema import PlacedCall, PlacedText
from ledger.lake.users import Users
from tokenledger.normalise import normalise
from tokenledger.normalise.assemble import clean_header
from tokenledger.records import Call, PricedCall, RawEvent, Rejected
from tokenledger.records.texts import CapturedText
from tokenledger.texts import Unread, read_conversation
from tokenledger.texts.conversation import Conversation

UNREADABLE: Final = "unreadable"
NOT_ALLOWED: Final = "not_allowed"
REJECTED: Final = "rejected"
FAILED: Final = "redaction_failed"
OUTCOMES: Final = (NOT_ALLOWED, REJECTED, FAILED, *(reason.value for reason in Unread))
"""Why a raw record gives no text."""

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class _Call(Call, frozen=True, omit_defaults=True, gc=False):
    """A call whose `raw_usage` is left as the message has it: the lake only passes it on."""

    raw_usage: msgspec.Raw = None  # type: ignore[assignment]


class _PricedCall(PricedCall, frozen=True, omit_defaults=True, gc=False):
    call: _Call


_decode_priced: Final = msgspec.json.Decoder(_PricedCall).decode


def take_call(value: bytes | None, users: Users, *, partition: int, offset: int) -> PlacedCall | str:
    """A record of the priced topic as a row; the user is left out but for a keyed hash."""
    try:
        priced = _decode_priced(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return UNREADABLE
    user_hash = users.hash_of(priced.call.tenant_id, priced.call.user_id)
    return PlacedCall(priced, user_hash, charged_at_us(priced), partition, offset)


def take_text(raw: RawEvent, consent: Consent, *, users: Users, redactor: Redactor) -> PlacedText | str:
    """A record of the raw topic as a row, redacted, where its tenant allows that; else why not."""
    if not consent.allows(clean_header(raw.headers.get("ce_tenantid", b"")) or ""):
        return NOT_ALLOWED
    call = normalise(raw)
    if isinstance(call, Rejected):
        return REJECTED
    said = read_conversation(raw, call.api)
    if isinstance(said, Unread):
        return said.value
    try:
        redacted = redactor.redact(said)
    except Exception:  # noqa: BLE001  (a recogniser of somebody else may raise anything; the text is withheld)
        return FAILED
    return PlacedText(
        _captured(call, redacted.conversation, users=users, counts=redacted.counts),
        _charged_at_us(call, raw.append_at_us),
        raw.topic,
        raw.partition,
        raw.offset,
    )


def _captured(call: Call, said: Conversation, *, users: Users, counts: dict[str, int]) -> CapturedText:
    return CapturedText(
        tenant_id=call.tenant_id,
        event_key=call.event_key,
        started_at_us=call.started_at_us,
        operation_id=call.operation_id,
        attempt_no=call.attempt_no,
        attempt_role=call.attempt_role,
        conversation_id=call.session_id,
        user_hash=users.hash_of(call.tenant_id, call.user_id),
        feature=call.feature,
        provider=call.provider,
        model=call.response_model or call.request_model,
        route_tier=call.route_tier,
        finish_reason=call.finish_reason,
        messages=_encode(said.messages).decode(),
        tools=None if said.tools is None else _encode(said.tools).decode(),
        answer=None if said.answer is None else _encode(said.answer).decode(),
        redactions=counts,
        redaction_version=VERSION,
    )


def _charged_at_us(call: Call, append_at_us: int) -> int:
    """As `charged_at_us` has it for the priced call: the text lies beside it."""
    return call.started_at_us if -OLDEST_US <= call.started_at_us - append_at_us <= NEWEST_US else append_at_us
