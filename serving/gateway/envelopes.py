"""An attempt as the records of `llm.raw.v1`: what the shipper sends and what the gateway prices are the same bytes.

Intent and outcome stand under one CloudEvents id, so the ledger has one call: in progress, until the outcome says what
became of it. Pure.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from serving.gateway.capturing import Texts
from serving.gateway.records import Intent, Outcome
from serving.gateway.replies import Members, reports_usage
from tokenledger.normalise.envelope import ENVELOPE_TYPE
from tokenledger.records import RawEvent
from tokenledger.records.decision import RouteDecision

ORPHANED: Final = "gateway_ended"
"""`error_type` of an attempt whose gateway ended before it: nothing is known of what the upstream did."""
NOT_UNDERSTOOD: Final = "outcome_not_understood"
"""`error_type` of an attempt that came to its end with a reply nobody could read."""

_encode: Final = msgspec.json.Encoder().encode


class _Envelope(msgspec.Struct, omit_defaults=True, gc=False):
    """The fields of `tokenledger.normalise.envelope.Envelope` that a gateway fills in; absent ones take no room."""

    provider: str
    api: str
    request_model: str
    request: dict[str, Any]
    started_at_us: int
    api_key_id: str
    operation_id: str
    attempt_no: int
    attempt_role: str
    route: str
    deployment_id: str
    replica_id: str
    project: str | None = None
    environment: str | None = None
    feature: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    route_tier: str | None = None
    decision_id: str | None = None
    engine: str | None = None
    billing_account: str | None = None
    attempt_reason: str | None = None
    decision: RouteDecision | None = None
    cache_hit: bool | None = None
    in_progress: bool | None = None
    http_status: int | None = None
    response: Any = None
    first_token_at_us: int | None = None
    ended_at_us: int | None = None
    token_times_us: tuple[int, ...] = ()
    timings_us: dict[str, int] = {}
    served: bool | None = None
    aborted: bool | None = None
    error_type: str | None = None
    usage_source: str | None = None


_members: Final = msgspec.json.Decoder(Members)
"""Takes a reply apart as far as it is changed; what else a provider put into it is for the ledger to judge."""


def source_of(epoch: str) -> str:
    """The CloudEvents source of an epoch."""
    return f"gateway/{epoch}"


def event_key(epoch: str, event_id: str) -> str:
    """The key by event that the ledger gives these records."""
    return f"{source_of(epoch)}#{event_id}"


def raw_event(intent: Intent, outcome: Outcome | None, *, epoch: str, texts: Texts | None = None) -> RawEvent:
    """The record of an intent, or of the outcome that followed it, with what was said where that may be kept."""
    headers = {
        "ce_id": intent.event_id.encode(),
        "ce_source": source_of(epoch).encode(),
        "ce_type": ENVELOPE_TYPE.encode(),
        "ce_time": _rfc3339(intent.started_at_us),
        "ce_tenantid": intent.tenant_id.encode(),
        "content-type": b"application/json",
    }
    key = f"{intent.tenant_id}/{intent.event_id}".encode()
    envelope = _envelope(intent, outcome)
    if texts is not None:
        _add_texts(envelope, texts)
    return RawEvent(value=_encode(envelope), headers=headers, key=key)


def orphaned(intent: Intent) -> Outcome:
    """What is known of an attempt whose gateway died: that nobody saw its end.

    Its usage is `none`, not estimated. The gateway may have died before the first byte was sent or after the last, and
    the intent's figures are upper bounds, so an estimate would charge what may never have been used; and any record
    that knows more must outrank this one. The same intent always gives the same bytes.
    """
    return Outcome(event_id=intent.event_id, aborted=True, error_type=ORPHANED)


def unsent(intent: Intent, why: str) -> Outcome:
    """An attempt that was given up between intent and sending: it cost nothing."""
    return Outcome(event_id=intent.event_id, error_type=why)


def _envelope(intent: Intent, outcome: Outcome | None) -> _Envelope:
    request: dict[str, Any] = {"stream": intent.stream}
    if intent.service_tier is not None:
        request["service_tier"] = intent.service_tier
    envelope = _Envelope(
        intent.provider, intent.api, intent.request_model, request, intent.started_at_us, intent.api_key_id,
        intent.operation_id, intent.attempt_no, intent.attempt_role, intent.route, intent.deployment_id,
        intent.replica_id, intent.project, intent.environment, intent.feature, intent.user_id, intent.session_id,
        intent.trace_id, intent.span_id, intent.route_tier, intent.decision_id, intent.engine,
        intent.billing_account, intent.attempt_reason,
        cache_hit=intent.cache_hit or None,
    )  # fmt: skip
    if outcome is None:
        envelope.in_progress = True
    else:
        _add_outcome(envelope, intent, outcome=outcome)
    return envelope


def _add_outcome(envelope: _Envelope, intent: Intent, *, outcome: Outcome) -> None:
    # Said once, with the record that stays: exactly one outcome follows each intent.
    envelope.decision = intent.decision
    envelope.http_status = outcome.http_status
    envelope.first_token_at_us = outcome.first_token_at_us
    envelope.ended_at_us = outcome.ended_at_us
    envelope.token_times_us = outcome.token_times_us
    envelope.timings_us = outcome.timings_us
    envelope.served = outcome.served
    envelope.aborted = outcome.aborted or None
    envelope.error_type = outcome.error_type
    if (outcome.output_chunks or outcome.input_tokens_seen is not None) and not _has_usage(outcome.reply):
        envelope.response, envelope.usage_source = _estimated(intent, outcome), "estimated"
    elif outcome.reply is not None:
        envelope.response = outcome.reply


def _add_texts(envelope: _Envelope, texts: Texts) -> None:
    """Nothing that is charged, timed or counted depends on them: the record is the same call without."""
    response = envelope.response
    if isinstance(response, msgspec.Raw):
        response = _members.decode(response)
    if isinstance(response, dict):
        envelope.request = texts.request | envelope.request
        envelope.response = response | {"choices": texts.choices}


def _has_usage(reply: msgspec.Raw | None) -> bool:
    if reply is None:
        return False
    try:
        return reports_usage(_members.decode(reply))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # whoever reads it will say what is wrong with it


def _estimated(intent: Intent, outcome: Outcome) -> dict[str, Any]:
    """The reply with the usage that was seen to happen: one token a chunk, and the prompt as the gateway sized it.

    Tokens were delivered, so their cost is not nothing; the figures are marked `estimated`, and any that the provider
    reports outrank them. The prompt's is what another upstream counted of it, else an upper estimate.
    """
    reply = {"model": intent.request_model} if outcome.reply is None else _members.decode(outcome.reply)
    seen = outcome.input_tokens_seen
    prompt_tokens = intent.input_tokens_estimate if seen is None else seen
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": outcome.output_chunks}
    return {"object": "chat.completion", "choices": []} | reply | {"usage": usage}


def _rfc3339(at_us: int) -> bytes:
    seconds, us = divmod(at_us, 1_000_000)
    return b"%b.%06dZ" % (_second(seconds), us)


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()
