"""The meter registry: every quantity that can be priced, its base unit and whose rate stands in for a missing one.

A meter is `direction.modality[.cache_action]`. Leaves never overlap; per direction they add up to the provider's
own inclusive total. Adding a meter is one line here.
"""

from typing import Final

import msgspec


class Meter(msgspec.Struct, frozen=True):
    """One priced quantity."""

    id: str
    """Name of the meter."""
    unit: str
    """Base unit of its quantity: `tokens`, `milliseconds`, `calls`, `pages`, `images`, `characters`."""
    meaning: str
    """What one unit is."""
    priced_as: str | None = None
    """The meter whose rate applies when this one has none of its own."""
    flagged: bool = False
    """Whether pricing by `priced_as` is worth a word in `rate_fallbacks` (cache_read → input.text is)."""


_TTLS: Final = ("5m", "1h", "30m", "12h")
_MODALITIES: Final = ("text", "audio", "image", "video")


def _input_meters(modality: str) -> list[Meter]:
    base = f"input.{modality}"
    stand_in, flagged = (None, False) if modality == "text" else ("input.text", False)
    rows = [
        Meter(base, "tokens", f"fresh {modality} tokens of the prompt", stand_in, flagged),
        Meter(
            f"{base}.cache_read",
            "tokens",
            f"{modality} tokens read from the provider's prompt cache",
            base if modality == "text" else "input.text.cache_read",
            modality == "text",
        ),
        Meter(
            f"{base}.cache_write",
            "tokens",
            f"{modality} tokens written to the prompt cache, lifetime not stated",
            base if modality == "text" else "input.text.cache_write",
            modality == "text",
        ),
    ]
    rows += [
        Meter(
            f"{base}.cache_write_{ttl}",
            "tokens",
            f"{modality} tokens written to the prompt cache for {ttl}",
            f"{base}.cache_write",
            ttl != "5m",
        )
        for ttl in _TTLS
    ]
    return rows


_ROWS: Final = [
    *(meter for modality in _MODALITIES for meter in _input_meters(modality)),
    Meter("input.document", "tokens", "document tokens of the prompt", "input.text"),
    Meter("input.document.cache_read", "tokens", "document tokens read from the prompt cache", "input.text.cache_read"),
    Meter("input.tool", "tokens", "tokens that server-side tools put into the prompt", "input.text"),
    Meter("output.text", "tokens", "visible text tokens of the answer"),
    Meter("output.reasoning", "tokens", "thinking tokens, billed and not shown", "output.text"),
    Meter("output.citation", "tokens", "tokens read from cited pages (Perplexity)", "output.text", flagged=True),
    Meter("output.audio", "tokens", "audio tokens of the answer", "output.text", flagged=True),
    Meter("output.image", "tokens", "image tokens of the answer", "output.text", flagged=True),
    Meter("output.video", "tokens", "video tokens of the answer", "output.text", flagged=True),
    Meter("tool.web_search", "calls", "searches made by the provider's web search tool"),
    Meter("tool.web_fetch", "calls", "pages fetched by the provider's fetch tool"),
    Meter("tool.code_execution", "calls", "code execution sessions or calls"),
    Meter("tool.file_search", "calls", "file searches made by the provider"),
    Meter("search_unit", "calls", "search units of a rerank call"),
    Meter("classification", "calls", "classifications"),
    Meter("page", "pages", "pages read by OCR"),
    Meter("image", "images", "images made, where the provider bills per image"),
    Meter("character", "characters", "characters spoken or read"),
    Meter("audio_ms", "milliseconds", "audio heard, where the provider bills time"),
    Meter("video_ms", "milliseconds", "video made, where the provider bills time"),
    Meter("request", "calls", "the call itself, where the provider bills a fee per call"),
    Meter("gpu_ms", "milliseconds", "GPU time of a self-hosted replica"),
]

METERS: Final[dict[str, Meter]] = {meter.id: meter for meter in _ROWS}
"""Every meter by its id."""

BILLED_ADJUSTMENT: Final = "adjustment.provider_billed"
"""The line that makes the sum of lines equal to what the provider says it billed."""

MANUAL_ADJUSTMENT: Final = "adjustment.manual"
"""The one line of what was posted by hand: a credit, or a charge that no call made."""
