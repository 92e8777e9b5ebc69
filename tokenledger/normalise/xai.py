"""xAI chat completions: reasoning is counted beside `completion_tokens`, and text tokens include cached ones."""

from tokenledger.normalise import engine_timings, openai_chat
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.provider_bills import add_bill
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading


def fits(body: Body, exchange: Exchange) -> bool:
    """A chat completion from xAI: the provider says so, or fields of usage that only xAI has."""
    if exchange.provider == "x_ai":
        return openai_chat.fits(body, exchange)
    usage = body.get("usage")
    return (
        usage.__class__ is dict
        and ("num_sources_used" in usage or "cost_in_usd_ticks" in usage)
        and ("prompt_tokens" in usage)
    )


def read(body: Body, exchange: Exchange) -> Reading:
    """A chat completion of xAI → its Reading."""
    reading = openai_chat.start(body, exchange, "x_ai.chat", "chat")
    reading.provider = "x_ai"
    usage = openai_chat.usage_of(body)
    if usage:
        read_tokens(reading, usage, NAMES, reasoning_beside=True)
        add_bill(reading, body, exchange)
    engine_timings.add(reading, body, exchange)
    return reading


CHAT = Dialect("x_ai.chat", fits, read, openai_chat.fold)
