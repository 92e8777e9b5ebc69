"""Image generation and editing: tokens where the model reports them, else pictures counted."""

from typing import Any

from tokenledger.normalise.openai_chat import azure_deployment
from tokenledger.normalise.openai_usage import RESPONSES as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.provider_bills import add_bill
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, part, seconds_to_us, text

_STREAM_TYPES = ("image_generation.", "image_edit.")


def fits(body: Body, exchange: Exchange) -> bool:
    """Pictures as data, an image stream's event, or an images call whose pictures were taken out."""
    kind = body.get("type")
    if kind.__class__ is str and kind.startswith(_STREAM_TYPES):
        return True
    rows = body.get("data")
    if rows.__class__ is list and rows and rows[0].__class__ is dict:
        return "b64_json" in rows[0] or ("url" in rows[0] and "object" not in rows[0])
    return exchange.api == "images" or "/images/" in exchange.url


def read(body: Body, exchange: Exchange) -> Reading:
    """An image reply → its Reading. Output tokens are image tokens unless the details say otherwise."""
    reading = Reading(
        usage_reading="openai.images",
        api="images",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        created_at_us=seconds_to_us(body.get("created") or body.get("created_at")),
        deployment_id=azure_deployment(exchange.url) if exchange.url else None,
    )
    usage = body.get("usage")
    if usage and usage.__class__ is dict:
        read_tokens(reading, _as_images(usage), NAMES)
        reading.raw_usage = usage
        add_bill(reading, body, exchange)
    rows = body.get("data")
    if not reading.usage and rows.__class__ is list and rows:
        reading.usage = {"image": len(rows)}
        reading.usage_source = "reported" if reading.raw_usage else "counted"
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The event that carries the finished picture; partial pictures carry no usage."""
    body: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is dict and str(event.data.get("type")).endswith(".completed"):
            body = event.data
    return body, bool(body)


def _as_images(usage: dict[str, Any]) -> dict[str, Any]:
    outputs = usage.get("output_tokens")
    if outputs and not part(usage, "output_tokens_details", "usage"):
        return usage | {"output_tokens_details": {"image_tokens": outputs}}
    return usage


IMAGES = Dialect("openai.images", fits, read, fold)
