"""Our meters in the catalogue's dimensions: a price covers every meter that has all dimensions of the price."""

from collections.abc import Iterator
from typing import Final

from tokenledger.records.meters import METERS

Dimensions = frozenset[tuple[str, str]]

_OTHERS: Final = {
    "character": {"family": "characters", "direction": "input"},
    "audio_ms": {"family": "durations", "direction": "input", "modality": "audio"},
    "page": {"family": "document_pages", "direction": "input"},
    "search_unit": {"family": "rerank"},
    "tool.web_search": {"family": "tool_calls", "tool_type": "web_search"},
    "tool.file_search": {"family": "tool_calls", "tool_type": "storage_search"},
    "tool.code_execution": {"family": "tool_calls", "tool_type": "code_execution"},
    "request": {"family": "requests"},
}
"""Meters that count no tokens."""


_MODALITIES: Final = {"text", "audio", "image", "video"}
_PLAIN: Final = {"document"}
"""Kinds of tokens the catalogue does not tell from any other."""


def _token_dimensions(meter_id: str) -> Iterator[tuple[str, str]]:
    direction, kind, *cache_action = meter_id.split(".")
    yield ("family", "tokens")
    yield ("direction", direction)
    if kind in _MODALITIES:
        yield ("modality", kind)
    elif kind not in _PLAIN:
        yield ("token_type", kind)
        if direction == "output":
            yield ("modality", "text")
    if cache_action == ["cache_read"]:
        yield ("token_type", "cache_read")
    elif cache_action:
        yield ("token_type", "cache_write")
        ttl = cache_action[0].removeprefix("cache_write").removeprefix("_")
        if ttl:
            yield ("cache_ttl", ttl)


def _dimensions() -> dict[str, Dimensions]:
    dimensions = {meter: frozenset(stated.items()) for meter, stated in _OTHERS.items()}
    for meter in METERS.values():
        if meter.unit == "tokens":
            dimensions[meter.id] = frozenset(_token_dimensions(meter.id))
    return dimensions


METER_DIMENSIONS: Final = _dimensions()
"""Meter → its dimensions; meters the catalogue has no word for are absent."""
