"""Perplexity chat completions: reasoning and citation tokens are counted beside `completion_tokens`.

Their `total_tokens` is prompt + completion and leaves both out (docs.perplexity.ai, sonar-deep-research), so it decides
nothing here. Citation tokens are sold at a rate of their own, per token read from cited pages.
"""

from typing import Any, Final

from tokenledger.normalise import openai_chat
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import cache_actions
from tokenledger.normalise.provider_bills import add_bill
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading, count, part
from tokenledger.records.reasons import Anomaly

_SIGNS: Final = frozenset({"search_context_size", "citation_tokens", "num_search_queries"})


def fits(body: Body, exchange: Exchange) -> bool:
    """A chat completion from Perplexity: the provider says so, or fields of usage that only Perplexity has."""
    if exchange.provider == "perplexity":
        return openai_chat.fits(body, exchange)
    usage = body.get("usage")
    return usage.__class__ is dict and "prompt_tokens" in usage and not _SIGNS.isdisjoint(usage)


def read(body: Body, exchange: Exchange) -> Reading:
    """A chat completion of Perplexity → its Reading."""
    reading = openai_chat.start(body, exchange, "perplexity.chat", "chat")
    reading.provider = "perplexity"
    usage = openai_chat.usage_of(body)
    if usage:
        _read_usage(reading, usage)
        add_bill(reading, body, exchange)
    return reading


def _read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    reading.raw_usage = usage
    prompt, completion = count(usage, NAMES.input, "usage"), count(usage, NAMES.output, "usage")
    if prompt is not None:
        path = "usage.prompt_tokens_details"
        carve_input(reading, prompt, cached=cache_actions(part(usage, "prompt_tokens_details", "usage"), path))
    if completion is not None:
        reasoning = count(usage, "reasoning_tokens", "usage") or 0
        citation = count(usage, "citation_tokens", "usage") or 0
        parts = {name: tokens for name, tokens in (("reasoning", reasoning), ("citation", citation)) if tokens}
        carve_output(reading, completion + reasoning + citation, parts=parts)
    reported = count(usage, "total_tokens", "usage")
    if reported and reported != (prompt or 0) + (completion or 0) and reported != _all(reading):
        reading.note(Anomaly.UNEXPLAINED_TOKENS if reported > _all(reading) else Anomaly.TOTAL_MISMATCH)


def _all(reading: Reading) -> int:
    return (reading.input_tokens or 0) + (reading.output_tokens or 0)


CHAT = Dialect("perplexity.chat", fits, read, openai_chat.fold)
