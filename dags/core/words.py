"""What was said, as one text without what says nothing: case, blanks, Unicode spellings."""

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import regex
from numpy.typing import NDArray

_WORD: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]|[\p{L}\p{N}\p{M}_]+")
"""A word; in scripts without blanks between words, one character."""
_ASCII_WORD: Final = re.compile(r"\w+")
_RUN: Final = 3
_MIX: Final = np.uint32(0x9E3779B1)

Shingles = NDArray[np.uint32]


def plain(content: Any) -> str:
    """The text of a message's content: itself, or its text parts, one a line."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def spoken(message: dict[str, Any]) -> str:
    """Everything a message says: its text, and the names and arguments of its tool calls."""
    calls = message.get("tool_calls") or ()
    called = [_called(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return "\n".join(part for part in (plain(message.get("content")), *called) if part)


def _called(call: dict[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return ""
    arguments = function.get("arguments")
    said = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return f"{function.get('name')} {said}"


def prompt(messages: Sequence[dict[str, Any]]) -> str:
    """What was asked: every message of the user, one after the other. System prompts are shared and say nothing."""
    asked = [spoken(message) for message in messages if message.get("role") == "user"]
    return "\n".join(asked) if asked else "\n".join(map(spoken, messages))


def normal(text: str) -> str:
    """NFKC, case folded, runs of blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    return zlib.crc32(word.encode(errors="replace"))


def shingles(text: str) -> Shingles:
    """Hashes of every three words in a row of a normal text; of a shorter one, of what it has. Repeats may be there."""
    found = _ASCII_WORD.findall(text) if text.isascii() else _WORD.findall(text)
    words = np.fromiter(map(_word_hash, found or [text]), dtype=np.uint32)
    run = min(_RUN, len(words))
    hashes = words[: len(words) - run + 1].copy()
    for at in range(1, run):
        hashes = hashes * _MIX + words[at : len(words) - run + 1 + at]
    return hashes
