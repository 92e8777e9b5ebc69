"""OpenRouter chat completions: the OpenAI shape, the amount billed, and who ran the model."""

from tokenledger.normalise import openai_chat
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.provider_bills import add_bill, is_openrouter
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading, text


def fits(body: Body, exchange: Exchange) -> bool:
    """A chat completion with an id of OpenRouter's, whatever provider the producer named."""
    return is_openrouter(body) and openai_chat.fits(body, exchange)


def read(body: Body, exchange: Exchange) -> Reading:
    """A chat completion of OpenRouter → its Reading."""
    reading = openai_chat.start(body, exchange, "openrouter.chat", "chat")
    reading.provider = "openrouter"
    reading.host_provider = text(body, "provider")
    usage = openai_chat.usage_of(body)
    if usage:
        read_tokens(reading, usage, NAMES)
        add_bill(reading, body, exchange)
    return reading


CHAT = Dialect("openrouter.chat", fits, read, openai_chat.fold)
