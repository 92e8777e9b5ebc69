"""Small edits that leave a prompt's meaning alone; stability is the share of prompts that keep their side."""

import re
import zlib
from collections.abc import Callable
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]{5,}")
_EVERY: Final = 100
"""One typing slip in about so many characters."""


def upper(text: str) -> str:
    """All capitals."""
    return text.upper()


def blanks(text: str) -> str:
    """Two blanks for one, and blank lines."""
    return "\n" + text.replace(" ", "  ").replace("\n", "\n\n") + "  "


def slips(text: str) -> str:
    """Two letters swapped inside a word, here and there; which ones depends on the text alone."""
    words = list(_WORD.finditer(text))
    chosen = sorted(words, key=lambda word: zlib.crc32(word.group().encode()))[: max(1, len(text) // _EVERY)]
    for word in sorted(chosen, key=re.Match.start, reverse=True):
        at = word.start() + 1 + zlib.crc32(word.group().encode()) % (len(word.group()) - 3)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def closing(text: str) -> str:
    """A courtesy after it."""
    return text.rstrip() + " Thanks!"


def spelling(text: str) -> str:
    """Typographic quotes and dashes for plain ones."""
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(" - ", " – ")


EDITS: Final[dict[str, Callable[[str], str]]] = {
    "case": upper,
    "blanks": blanks,
    "slips": slips,
    "courtesy": closing,
    "quotes": spelling,
}
"""Every edit by name."""
