"""Records of a gateway, and what is made of them: shared by the tests of nasty cases."""

import json
from typing import Any

from tokenledger.normalise import normalise
from tokenledger.process import default_context, process
from tokenledger.records import Call, PricedCall, RawEvent

STARTED_AT_US = 1_793_500_000_000_000


def record(value: dict[str, Any], event_id: str = "event-1", ce_type: str = "llm.call.v1") -> RawEvent:
    """The value as a record of a gateway."""
    headers = {
        "ce_id": event_id.encode(),
        "ce_source": b"gateway",
        "ce_type": ce_type.encode(),
        "ce_tenantid": b"acme",
    }
    return RawEvent(value=json.dumps(value).encode(), headers=headers, append_at_us=STARTED_AT_US)


def call_of(value: dict[str, Any], ce_type: str = "llm.call.v1") -> Call:
    """The Call of a record that can be read."""
    call = normalise(record(value, ce_type=ce_type))
    assert isinstance(call, Call), call
    return call


def priced(value: dict[str, Any], event_id: str = "event-1") -> PricedCall:
    """The record, read and priced by the packaged catalogue."""
    found = process(record({"started_at_us": STARTED_AT_US} | value, event_id), default_context())
    assert isinstance(found, PricedCall), found
    return found


def claude(usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """An envelope with a message of Claude Sonnet 4.5: 3 USD in, 15 USD out per million, cache 0.30, 3.75 and 6."""
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    response = message | {"stop_reason": "end_turn"} | ({} if usage is None else {"usage": usage})
    return {"provider": "anthropic", "response": response} | more


def span(attributes: dict[str, Any], scope: str = "") -> dict[str, Any]:
    """A span with plain attributes."""
    named = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "anthropic",
        "gen_ai.response.model": "claude-sonnet-4-5",
    }
    return {"trace_id": "a" * 32, "span_id": "b" * 16, "scope": {"name": scope}, "attributes": named | attributes}
