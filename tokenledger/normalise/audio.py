"""Speech to text and text to speech. Transcription usage is a union: tokens, or seconds of audio; speech has either
tokens in its stream's last event or, for older models, the characters of the request.
"""

from decimal import Decimal
from typing import Any, Final

from tokenledger.normalise.openai_chat import azure_deployment
from tokenledger.normalise.openai_usage import RESPONSES as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, part, text
from tokenledger.records.reasons import Reason

_HEARD: Final = ("/audio/transcriptions", "/audio/translations")
_TERMINAL: Final = (
    "transcript.text.done",
    "speech.audio.done",
    "conversation.item.input_audio_transcription.completed",
)
_STREAM_TYPES: Final = ("transcript.text.", "speech.audio.", "conversation.item.input_audio_transcription.")
_LONGEST_S: Final = 100_000_000


def fits(body: Body, exchange: Exchange) -> bool:
    """A transcript, an event of an audio stream, or what is left of either without its text."""
    kind = body.get("type")
    if kind.__class__ is str and kind.startswith(_STREAM_TYPES):
        return True
    usage = body.get("usage")
    if usage.__class__ is dict and usage.get("type") in ("tokens", "duration"):
        return True
    if "duration" in body and ("task" in body or "segments" in body):
        return True
    if any(path in exchange.url for path in (*_HEARD, "/audio/speech")):
        return True
    return exchange.api == "audio" and ("text" in body or not body)


def read(body: Body, exchange: Exchange) -> Reading:
    """A transcript or a piece of speech → its Reading."""
    spoken = "/audio/speech" in exchange.url or str(body.get("type")).startswith("speech.")
    reading = Reading(
        usage_reading="openai.speech" if spoken else "openai.transcription",
        api="audio",
        response_id=text(part(body, "x_groq", ""), "id"),
        response_model=text(body, "model"),
        deployment_id=azure_deployment(exchange.url) if exchange.url else None,
    )
    usage = body.get("usage")
    if usage and usage.__class__ is dict:
        _read_usage(reading, usage, spoken=spoken)
    elif body.get("duration") is not None:
        reading.raw_usage = {"duration": body["duration"]}
        reading.usage = {"audio_ms": milliseconds(body["duration"], "duration")}
        reading.explicit_leaves = 1
    elif spoken and exchange.request.get("input").__class__ is str:
        reading.usage = {"character": len(exchange.request["input"])}
        reading.usage_source = "counted"
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last event, which alone carries usage."""
    body: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is dict and (event.data.get("type") in _TERMINAL or not body):
            body = event.data
    return body, body.get("type") in _TERMINAL


def _read_usage(reading: Reading, usage: dict[str, Any], *, spoken: bool) -> None:
    if usage.get("seconds") is not None and "input_tokens" not in usage:
        reading.raw_usage = usage
        reading.usage = {"audio_ms": milliseconds(usage["seconds"], "usage.seconds")}
        reading.explicit_leaves = 1
        return
    modality = "output_token_details" if spoken else "input_token_details"
    total = usage.get("output_tokens" if spoken else "input_tokens")
    if total and not part(usage, modality, "usage") and not part(usage, modality.replace("token_", "tokens_"), "usage"):
        usage_as_audio = usage | {modality: {"audio_tokens": total}}
    else:
        usage_as_audio = usage
    read_tokens(reading, usage_as_audio, NAMES)
    reading.raw_usage = usage


def milliseconds(value: object, field: str) -> int:
    """Seconds as whole milliseconds, rounded half to even. Raises BadRecordError for what is no duration."""
    if value.__class__ is str:  # older verbose transcripts quote the number
        try:
            value = Decimal(value)
        except ArithmeticError:
            value = None
    if (value.__class__ is int or (isinstance(value, Decimal) and value.is_finite())) and 0 <= value < _LONGEST_S:
        return int((Decimal(value) * 1000).to_integral_value())
    detail = f"found {value!r:.40}; seconds from 0 to {_LONGEST_S} would be right"
    raise BadRecordError(Reason.INVALID_COUNT, field, detail)


AUDIO = Dialect("openai.audio", fits, read, fold)
