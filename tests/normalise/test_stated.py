"""What an envelope states of its call reaches the call under the same name."""

from typing import Any

import msgspec
import pytest

from tokenledger.normalise import normalise
from tokenledger.normalise.envelope import Envelope
from tokenledger.records import Call, RawEvent

REPLY = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "choices": []}
NUMBERS = {"attempt_no": 2, "container_part": 0, "revision": 3, "kv_token_us": 5, "http_status": 200}
FLAGS = {"cache_hit": False}
OTHERS: dict[str, Any] = {"tags": {"team": "search"}, "token_times_us": [1_760_000_000_000_001]}
# The tenant is the credential's; what the reply itself says outranks the envelope; times have tests of their own.
ELSEWHERE = {"tenant_id", "provider", "api", "usage_source", "started_at_us", "first_token_at_us", "ended_at_us"}
SHARED = sorted(set(Envelope.__struct_fields__) & set(Call.__struct_fields__) - ELSEWHERE)


@pytest.mark.parametrize("name", SHARED)
def test_a_field_reaches_the_call(name: str) -> None:
    """Alone, so that no other field's presence helps."""
    value = (NUMBERS | FLAGS | OTHERS).get(name, f"some {name}")
    envelope = {"provider": "openai", "response": REPLY, name: value}
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=msgspec.json.encode(envelope), headers=headers))
    assert isinstance(call, Call)
    taken_over = getattr(call, name)
    assert (list(taken_over) if isinstance(taken_over, tuple) else taken_over) == value
