"""OpenAI's organization reports: `/v1/organization/usage/…` (tokens) and `/v1/organization/costs` (money). Pure.

Shapes: platform.openai.com/docs/api-reference/usage. In `usage`, `input_tokens` includes cached and audio tokens and
`output_tokens` includes reasoning. A cost's `line_item` names model and kind (`gpt-4o-2024-08-06, cached input`) where
the report was asked with `group_by=line_item`; without, only a day's total can be compared.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from ledger.bills.lines import BillError, BillLine, count, pico, usd

PROVIDER: Final = "openai"
_KINDS: Final = {
    "input": "input.text",
    "cached input": "input.text.cache_read",
    "cache write": "input.text.cache_write",
    "output": "output.text",
    "audio input": "input.audio",
    "cached audio input": "input.audio.cache_read",
    "audio output": "output.audio",
    "image input": "input.image",
    "cached image input": "input.image.cache_read",
    "image output": "output.image",
}
_TOOLS: Final = (("web search", "tool.web_search"), ("file search", "tool.file_search"))
_MODALITIES: Final = ("audio", "image")


def is_page(document: Any) -> bool:
    """Whether a JSON document is one of these reports."""
    if not isinstance(document, dict) or document.get("object") != "page":
        return False
    buckets = document.get("data")
    return isinstance(buckets, list) and all(isinstance(bucket, dict) for bucket in buckets)


def lines(document: dict[str, Any], where: str) -> Iterator[BillLine]:
    """The report's lines. Raises BillError."""
    if document.get("has_more"):
        raise BillError(f"{where}: has_more is true; fetch the pages up to the last one and give them all")
    for number, bucket in enumerate(document["data"]):
        place = f"{where}: data[{number}]"
        day = _day(bucket, place)
        for index, result in enumerate(bucket.get("results") or bucket.get("result") or ()):
            if not isinstance(result, dict):
                raise BillError(f"{place}.results[{index}] is {result!r}; an object would be right")
            yield from _result(result, day, place=f"{place}.results[{index}]")


def _day(bucket: dict[str, Any], place: str) -> str:
    start, end = bucket.get("start_time"), bucket.get("end_time")
    if not isinstance(start, int) or isinstance(start, bool) or not isinstance(end, int) or not 0 < start < end < 2**38:
        raise BillError(f"{place}: start_time {start!r}, end_time {end!r}; seconds since 1970, start first, are right")
    day = datetime.fromtimestamp(start, UTC).date()
    if datetime.fromtimestamp(end - 1, UTC).date() != day:
        raise BillError(f"{place} lasts from {start} to {end}, more than one UTC day; ask with bucket_width=1d or less")
    return day.isoformat()


def _result(result: dict[str, Any], day: str, *, place: str) -> Iterator[BillLine]:
    kind = str(result.get("object", ""))
    if kind == "organization.costs.result":
        yield _cost(result, day, place=place)
    elif kind == "organization.usage.completions.result":
        yield from _tokens(result, day, place=place)
    elif kind == "organization.usage.embeddings.result":
        quantity = count(result.get("input_tokens"), f"{place}.input_tokens")
        yield _usage(result, day, meter="input.text", quantity=quantity)
    else:
        known = "organization.costs.result, organization.usage.completions.result, organization.usage.embeddings.result"
        raise BillError(f"{place}.object is {kind!r}; known are {known}")


def _cost(result: dict[str, Any], day: str, *, place: str) -> BillLine:
    amount = result.get("amount")
    if not isinstance(amount, dict):
        raise BillError(f"{place}.amount is {amount!r}; an object with value and currency would be right")
    usd(amount.get("currency"), f"{place}.amount")
    amount_usd_pico, precision_usd_pico = pico(amount.get("value"), f"{place}.amount.value")
    said = str(result.get("line_item") or "")
    model, meter = _read(said)
    return BillLine(
        day=day, provider=PROVIDER, model=model, meter=meter, said=said, amount_usd_pico=amount_usd_pico,
        precision_usd_pico=precision_usd_pico, category="credit" if amount_usd_pico < 0 else "usage",
    )  # fmt: skip


def _read(said: str) -> tuple[str, str]:
    """Model and meter of a line item; empty where it does not say."""
    for words, meter in _TOOLS:
        if words in said.lower():
            return "", meter
    model, comma, kind = said.rpartition(", ")
    if not comma:
        return said, ""
    return model, _KINDS.get(kind.strip().lower(), "")


def _tokens(result: dict[str, Any], day: str, *, place: str) -> Iterator[BillLine]:
    def said(name: str) -> int:
        return count(result.get(name), f"{place}.{name}")

    cached = {kind: said(f"input_cached_{kind}_tokens") for kind in _MODALITIES}
    meters = {"input.text.cache_write": said("input_cache_write_tokens")}
    for kind in _MODALITIES:
        meters[f"input.{kind}"] = said(f"input_{kind}_tokens") - cached[kind]
        meters[f"input.{kind}.cache_read"] = cached[kind]
        meters[f"output.{kind}"] = said(f"output_{kind}_tokens")
    meters["input.text.cache_read"] = said("input_cached_tokens") - sum(cached.values())
    meters["input.text"] = said("input_tokens") - sum(q for meter, q in meters.items() if meter.startswith("input."))
    meters["output.text"] = said("output_tokens") - sum(q for meter, q in meters.items() if meter.startswith("output."))
    for meter, quantity in meters.items():
        if quantity < 0:
            raise BillError(
                f"{place}: {meter} would be {quantity}; the parts are larger than the total that holds them"
            )
        if quantity:
            yield _usage(result, day, meter=meter, quantity=quantity)


def _usage(result: dict[str, Any], day: str, *, meter: str, quantity: int) -> BillLine:
    return BillLine(
        day=day, provider=PROVIDER, model=str(result.get("model") or ""), meter=meter, quantity=quantity, said=meter
    )
