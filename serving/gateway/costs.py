"""What an attempt cost, to the pico what the ledger will say, without the record the ledger will make of it. Pure.

Chat completions of the shape that nearly all replies have are read at a fifth of the price of the whole path; anything
else in a reply, however small, goes the whole path. A property test holds the two equal.
"""

from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from serving.gateway.envelopes import raw_event
from serving.gateway.records import Intent, Outcome
from tokenledger.normalise.dialects import OF_PROVIDER
from tokenledger.normalise.openai_usage import ChatUsage, cached_and_reasoning
from tokenledger.normalise.providers import find_provider
from tokenledger.pricing.cost import AmountOverflowError, price_call
from tokenledger.process import Context, process
from tokenledger.records import Call, PricedCall

_OTHER_DIALECTS: Final = frozenset({*OF_PROVIDER, "openrouter", "x_ai", "perplexity"})
"""Providers whose replies of that shape are read in ways of their own."""
_EARLIEST_US, _LATEST_US = 1_577_836_800_000_000, 4_102_444_800_000_000
_OK: Final = 200
_MOST_TEXTS: Final = 4_096


class Spent(NamedTuple):
    """What an attempt came to."""

    cost_usd_pico: int | None
    """Its cost, 10⁻¹² USD; None where it is not wholly known."""
    tokens: int | None
    """Tokens in and out; None where nobody counted them."""


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: int
    finish_reason: str | None


class _Reply(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """All a reply may have here; what is not among it might bear on the price."""

    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800)]
    model: str
    choices: list[_Choice]
    usage: ChatUsage
    service_tier: str | None = None
    system_fingerprint: str | None = None


_reply: Final = msgspec.json.Decoder(_Reply)
_engines: dict[tuple[str | None, ...], str | None] = {}
"""Texts a price is found by → the engine, blank for none; None where the ledger may read them otherwise. Bounded."""


def spent(intent: Intent, outcome: Outcome, *, epoch: str, context: Context) -> Spent:
    """What it came to, by the ledger's own reading and prices."""
    usual = usual_spent(intent, outcome, context=context)
    return usual if usual is not None else processed(intent, outcome, epoch=epoch, context=context)


def processed(intent: Intent, outcome: Outcome, *, epoch: str, context: Context) -> Spent:
    """The same by the whole path: whatever came."""
    priced = process(raw_event(intent, outcome, epoch=epoch), context)
    if not isinstance(priced, PricedCall):
        return Spent(None, None)
    call = priced.call
    tokens = None if call.input_tokens is None else call.input_tokens + (call.output_tokens or 0)
    if call.status == "error" and tokens is None:
        tokens = 0
    return Spent(priced.cost_usd_pico, tokens)


def usual_spent(intent: Intent, outcome: Outcome, *, context: Context) -> Spent | None:
    """The same by the short path; None for what has to go the whole one."""
    if outcome.reply is None or outcome.http_status != _OK or outcome.aborted or outcome.error_type or intent.cache_hit:
        return None
    try:
        reply = _reply.decode(outcome.reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usage = _leaves(reply.usage)
    texts = (
        intent.tenant_id, intent.provider, reply.model, intent.request_model, intent.deployment_id, intent.engine,
        reply.service_tier, intent.service_tier,
    )  # fmt: skip
    engine = _engines[texts] if texts in _engines else _remembered(texts)
    if usage is None or engine is None or reply.id[:9] != "chatcmpl-" or not _is_sane(intent.started_at_us):
        return None
    call = Call(
        intent.tenant_id, intent.event_id, "", intent.provider, usage, intent.started_at_us, "started_at",
        request_model=intent.request_model, response_model=reply.model, deployment_id=intent.deployment_id,
        engine=engine or None, service_tier_served=reply.service_tier, service_tier_requested=intent.service_tier,
    )  # fmt: skip
    try:
        cost = price_call(call, context.book)
    except AmountOverflowError:
        return None
    return Spent(cost.cost_usd_pico, reply.usage.total_tokens)


def _leaves(usage: ChatUsage) -> dict[str, int] | None:
    """Its meters; None where its counts contradict each other."""
    inside = cached_and_reasoning(usage)
    if inside is None:
        return None
    cached, reasoning = inside
    leaves = {"input.text": usage.prompt_tokens - cached, "output.text": usage.completion_tokens - reasoning}
    if cached:
        leaves["input.text.cache_read"] = cached
    if reasoning:
        leaves["output.reasoning"] = reasoning
    return leaves


def _is_sane(at_us: int) -> bool:
    return _EARLIEST_US <= at_us <= _LATEST_US


def _remembered(texts: tuple[str | None, ...]) -> str | None:
    if len(_engines) >= _MOST_TEXTS:
        _engines.clear()
    found = _engines[texts] = _engine(texts)
    return found


def _engine(texts: tuple[str | None, ...]) -> str | None:
    provider = find_provider(texts[1])
    if provider is None or provider.name != texts[1] or provider.name in _OTHER_DIALECTS:
        return None
    if not all(text is None or _is_plain(text) for text in texts):
        return None
    return texts[5] or (provider.name if provider.self_hosted else "")


def _is_plain(text: str) -> bool:
    """Whether no reader would cut, trim or mend it."""
    return 0 < len(text) <= 256 and text.isascii() and text.isprintable() and text == text.strip()  # noqa: PLR2004
