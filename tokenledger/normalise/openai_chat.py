"""OpenAI chat completions and legacy completions, and every body of that shape.

Azure, DeepSeek, Fireworks, Together, Cerebras, Moonshot, Z.ai, Writer, Snowflake, Hugging Face, vLLM and most others
answer with it; what some of them add (cache counts beside the details, engine durations) is known by its field names.
"""

from typing import Any, Final

from tokenledger.normalise import engine_timings
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, part, seconds_to_us, text

_PLAIN_PROVIDERS: Final = frozenset({"openai", "azure.ai.openai"})
_COMPLETION_OBJECTS: Final = frozenset({"text_completion", "text.completion", "completion.chunk"})
# What a stream may blank out again in a later chunk; the last word that says anything counts.
_LASTING: Final = ("id", "model", "created", "usage", "service_tier", "x_groq", "timings", "metrics", "time_info")


def fits(body: Body, _exchange: Exchange) -> bool:
    """Choices, or a usage object that counts prompt tokens."""
    if "choices" in body:
        return True
    usage = body.get("usage")
    return usage.__class__ is dict and "prompt_tokens" in usage


def read(body: Body, exchange: Exchange) -> Reading:
    """A chat completion → its Reading."""
    reading = start(body, exchange, "openai.chat", "chat")
    usage = usage_of(body)
    if usage:
        read_tokens(reading, usage, NAMES)
    engine_timings.add(reading, body, exchange)
    return reading


def start(body: Body, exchange: Exchange, name: str, api: str) -> Reading:
    """A Reading with all of the OpenAI shape that is not usage."""
    choices = body.get("choices")
    first = choices[0] if choices.__class__ is list and choices else None
    created = body.get("created")
    if created.__class__ is str and created.isdecimal() and len(created) < 13:  # noqa: PLR2004
        created = int(created)  # Writer quotes it
    response_id, model, tier = body.get("id"), body.get("model"), body.get("service_tier")
    return Reading(
        usage_reading=name,
        api=api,
        response_id=response_id if response_id.__class__ is str else None,
        response_model=model if model and model.__class__ is str else text(body, "model_id"),
        service_tier=tier if tier.__class__ is str else None,
        created_at_us=seconds_to_us(created),
        finish_reason=text(first, "finish_reason") if first.__class__ is dict else None,
        deployment_id=azure_deployment(exchange.url) if exchange.url else None,
    )


def azure_deployment(url: str) -> str | None:
    """The deployment an Azure OpenAI URL names: the reply names the base model, the path what was asked for."""
    _, found, rest = url.partition("/openai/deployments/")
    return rest.split("/", 1)[0].split("?", 1)[0] or None if found else None


def usage_of(body: Body) -> dict[str, Any] | None:
    """The usage object, which Groq's stream keeps under `x_groq`; None where there is none or an empty one."""
    usage = body.get("usage")
    if not usage and "x_groq" in body:
        usage = part(body, "x_groq", "").get("usage")
    return usage if usage and usage.__class__ is dict else None


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last usage counts, on whichever chunk it came; counts are cumulative and never added.

    The end is a finish reason for every choice that began, or the accounting chunk that follows it.
    """
    chunks = [event.data for event in events if event.data.__class__ is dict]
    body: dict[str, Any] = {}
    finishes: dict[object, str] = {}
    begun: set[object] = set()
    usage_chunks = 0
    for chunk in chunks:
        body.update(chunk)
        if chunk.get("usage"):
            usage_chunks += 1
        choices = chunk.get("choices")
        for choice in choices if choices.__class__ is list else ():
            if choice.__class__ is dict:
                _follow(choice, begun, finishes)
    for name in _LASTING:
        if name in body and not body[name]:
            body[name] = next((chunk[name] for chunk in reversed(chunks) if chunk.get(name)), None)
    if not body.get("usage") and (told := _of_choices(chunks)):
        body["usage"] = told
    accounted = usage_chunks == 1 and len(chunks) > 1 and bool(chunks[-1].get("usage"))
    complete = accounted or bool(chunks and chunks[-1].get("usage") and not chunks[-1].get("choices"))
    body["choices"] = [{"finish_reason": finishes.get(min(finishes, key=str)) if finishes else None}]
    return body, complete or (bool(finishes) and begun <= finishes.keys())


def _of_choices(chunks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Moonshot keeps the usage in the choice; the last word counts."""
    for chunk in reversed(chunks):
        choices = chunk.get("choices")
        for choice in reversed(choices) if choices.__class__ is list else ():
            if choice.__class__ is dict and choice.get("usage").__class__ is dict and choice["usage"]:
                found: dict[str, Any] = choice["usage"]
                return found
    return None


def _follow(choice: dict[str, Any], begun: set[object], finishes: dict[object, str]) -> None:
    index = choice.get("index")
    index = index if index.__class__ is int else 0
    begun.add(index)
    if finish := text(choice, "finish_reason"):
        finishes[index] = finish


def fits_completions(body: Body, exchange: Exchange) -> bool:
    """Choices that are texts, not messages; or the URL or envelope says so."""
    kind = body.get("object")
    if kind.__class__ is str and kind in _COMPLETION_OBJECTS:
        return True
    choices = body.get("choices")
    if choices.__class__ is not list:
        return False
    first = choices[0] if choices else None
    if first.__class__ is dict and "text" in first:
        return "message" not in first and "delta" not in first
    return exchange.api == "completions" and kind is None


def read_completions(body: Body, exchange: Exchange) -> Reading:
    """A legacy completion → its Reading; counts are those of chat."""
    reading = read(body, exchange)
    reading.usage_reading, reading.api = "openai.completions", "completions"
    return reading


def fits_plain(body: Body, exchange: Exchange) -> bool:
    """OpenAI's own chat, known at a glance so that most records need no further look."""
    response_id = body.get("id")
    return (
        exchange.provider in _PLAIN_PROVIDERS
        and "choices" in body
        and response_id.__class__ is str
        and response_id.startswith("chatcmpl-")
    )


PLAIN_CHAT = Dialect("openai.chat", fits_plain, read, fold)
CHAT = Dialect("openai.chat", fits, read, fold)
COMPLETIONS = Dialect("openai.completions", fits_completions, read_completions, fold)
