"""A prompt as numbers: hashed word and character n-grams, and one row of shapes. Pure, the same everywhere.

Upper and lower case and runs of blanks make no difference to any of them: an edit that says nothing changes nothing.
"""

import itertools
import re
import zlib
from functools import cache, lru_cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.router.words import KIND_OF, KINDS

Floats = NDArray[np.float32]
Buckets = NDArray[np.int32]

BUCKETS: Final = 1 << 18
"""Where n-grams are hashed to; words own the lower half, characters the upper."""
LONGEST_CHARS: Final = 8_000
"""Of a longer prompt the first and the last half of this are read; its length counts whole."""

CHARS_FROM: Final = BUCKETS // 2
"""Buckets below are of words, from here on of characters."""
_RUN: Final = 4
"""Bytes of a character n-gram; runs of 3 or 5 beside them brought nothing that could be measured."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_STEP: Final = np.uint64(0x100000001B3)
_SHIFT: Final = np.uint64(64 - (CHARS_FROM.bit_length() - 1))

_WORD: Final = re.compile(r"[^\W\d_]+|\d[\d,]*(?:\.\d+)?")
_OPTION: Final = re.compile(r"\(?[a-h][.):] ")
_STATEMENTS: Final = (" i. ", " ii. ", " iii. ", " iv. ", "\ni. ", "\nii. ", "\niii. ", "\niv. ")
_FRACTION: Final = re.compile(r"\d/\d")
_SENTENCE_END: Final = re.compile(r"[.?!:](?:\s|$)")
_SMALL: Final = 10
_LARGEST: Final = 1e30
"""Beyond it numbers are alike; a float32 holds it."""
_CODE: Final = ("```", "{", "}", ";", "=>", "==", "::", "</", "()", "def ", "->")
_MATHS: Final = tuple("\\^=+*√∫∑π≤≥∀∃→⊃·~±×÷<>")


class Prompt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the router may see of a request."""

    text: str
    """What the user asks now: the last user message."""
    context_chars: int = 0
    """Length of everything else that is sent: system prompt, earlier messages, tools."""
    tools: int = 0
    """Tools offered to the model."""
    turns: int = 1
    """Messages of the conversation, this one included."""
    format: str = ""
    """Answer format asked for: empty, `json_object`, `json_schema`."""


class Features(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One prompt as the model reads it."""

    buckets: Buckets
    """Buckets of its n-grams, ascending, each once."""
    counts: Floats
    """How often each occurs."""
    shape: Floats
    """The numbers named by SHAPE, in that order."""


def features(prompt: Prompt) -> Features:
    """The prompt as numbers."""
    text = normal(prompt.text)
    words = _WORD.findall(text)
    found = np.concatenate((_word_buckets(words), _char_buckets(text)))
    found.sort()
    starts = np.flatnonzero(np.diff(found, prepend=-1))
    return Features(
        buckets=found[starts],
        counts=np.diff(starts, append=len(found)).astype(np.float32),
        shape=_shape(prompt, text, words),
    )


def normal(text: str) -> str:
    """Lower case, one blank between words, one line end between lines; the middle of a very long text left out."""
    if len(text) > LONGEST_CHARS:
        text = text[: LONGEST_CHARS // 2] + "\n" + text[-LONGEST_CHARS // 2 :]
    return "\n".join(line for line in (" ".join(line.split()) for line in text.lower().splitlines()) if line)


# N-grams


@cache
def _number_hash(digits: int) -> int:
    return zlib.crc32(b"#%d" % digits)


@lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    """A number counts by its length only: that a sum has three digits says more than which."""
    return _number_hash(len(word)) if word[0].isdecimal() else zlib.crc32(word.encode())


def _word_buckets(words: list[str]) -> Buckets:
    single = np.array([_word_hash(word) for word in words], dtype=np.uint64)
    pairs = single[:-1] * _STEP + single[1:] + np.uint64(1)
    return _bucket(np.concatenate((single, pairs)))


def _char_buckets(text: str) -> Buckets:
    """Every run of 4 bytes: arithmetic on whole arrays, no loop over the text."""
    raw = np.frombuffer(text.encode(errors="replace"), dtype=np.uint8).astype(np.uint64)
    if len(raw) < _RUN:
        return np.empty(0, dtype=np.int32)
    rolled = raw[: 1 - _RUN]
    for at in range(1, _RUN):
        rolled = rolled * _STEP + raw[at : len(raw) - _RUN + 1 + at]
    return _bucket(rolled) + np.int32(CHARS_FROM)


def _bucket(hashes: NDArray[np.uint64]) -> Buckets:
    mixed = hashes * _MIX
    mixed ^= mixed >> np.uint64(29)
    return (mixed * _MIX >> _SHIFT).astype(np.int32)


# Shape


class _Read(msgspec.Struct, frozen=True, gc=False):
    prompt: Prompt
    text: str
    words: list[str]
    numbers: list[str]
    options: list[str]
    stem: str
    sentences: int
    question: str


def _read(prompt: Prompt, text: str, words: list[str]) -> _Read:
    lines = text.split("\n")
    options = [line for line in lines if _OPTION.match(line)]
    stem = "\n".join(lines[: lines.index(options[0])]) if options else text
    ends = [found.end() for found in _SENTENCE_END.finditer(stem)]
    before = [end for end in ends if end < len(stem)]
    return _Read(
        prompt=prompt,
        text=text,
        words=words,
        numbers=[word for word in words if word[0].isdecimal()],
        options=[option.partition(" ")[2] for option in options],
        stem=stem,
        sentences=len(before) + 1,
        question=_question(stem, [0, *before, len(stem)]),
    )


def _question(stem: str, bounds: list[int]) -> str:
    """The last sentence that asks; where none does, the last."""
    sentences = [stem[start:end] for start, end in itertools.pairwise(bounds)]
    return next((sentence for sentence in reversed(sentences) if "?" in sentence), sentences[-1])


def _size(read: _Read) -> tuple[float, ...]:
    count = max(len(read.words), 1)
    return (
        len(read.text) + max(0, len(read.prompt.text) - LONGEST_CHARS),
        count,
        read.sentences,
        read.text.count("\n"),
        len(read.text) / count,
        len(set(read.words)) / count,
        len(read.question),
    )


def _marks(read: _Read) -> tuple[float, ...]:
    text = read.text
    return (
        text.count("?"),
        text.count(","),
        text.count('"') + text.count("“"),
        text.count("%"),
        text.count("$"),
        len(_FRACTION.findall(text)) if "/" in text else 0,
        sum(map(text.count, _CODE)),
        sum(map(text.count, _MATHS)),
        len(text.encode(errors="replace")) - len(text),
        text.count("__"),
    )


def _quantities(read: _Read) -> tuple[float, ...]:
    values = [min(float(number.replace(",", "")), _LARGEST) for number in read.numbers]
    return (
        len(values),
        len(set(values)),
        len(values) / max(len(read.words), 1),
        sum("." in number for number in read.numbers),
        max(values, default=0.0),
        sum(value < _SMALL for value in values) / max(len(values), 1),
        sum(map(len, read.numbers)) / max(len(read.text), 1),
    )


def _choices(read: _Read) -> tuple[float, ...]:
    options = read.options
    lengths = [len(option) for option in options] or [0]
    sets = [frozenset(option.split()) for option in options]
    shared = len(frozenset.intersection(*sets)) if sets else 0
    return (
        len(options),
        sum(lengths) / len(lengths),
        max(lengths) - min(lengths),
        sum(any(map(str.isdigit, option)) for option in options),
        shared,
        len(read.stem),
        float(read.stem.endswith("?")),
        sum(map(read.text.count, _STATEMENTS)),
    )


def _request(read: _Read) -> tuple[float, ...]:
    return read.prompt.tools, read.prompt.turns - 1, float(read.prompt.format != "")


def _kinds(words: list[str]) -> tuple[float, ...]:
    counts = [0] * len(KINDS)
    for kinds in filter(None, map(KIND_OF.get, words)):
        for kind in kinds:
            counts[kind] += 1
    return tuple(counts)


def _words_of_text(read: _Read) -> tuple[float, ...]:
    return _kinds(read.words)


def _words_of_question(read: _Read) -> tuple[float, ...]:
    return _kinds(_WORD.findall(read.question))


_GROUPS: Final = (
    (_size, ("chars", "words", "sentences", "lines", "word_chars", "distinct_words", "question_chars")),
    (
        _marks,
        ("questions", "commas", "quotes", "percents", "money", "fractions", "code", "maths", "non_ascii", "gaps"),
    ),
    (
        _quantities,
        ("numbers", "distinct_numbers", "number_share", "decimals", "largest", "small_share", "digit_share"),
    ),
    (
        _choices,
        (
            *("options", "option_chars", "option_spread", "options_numeric", "option_shared"),
            *("stem_chars", "stem_asks", "statements"),
        ),
    ),
    (_request, ("tools", "turns", "format")),
    (_words_of_text, KINDS),
    (_words_of_question, tuple(f"question_{kind}" for kind in KINDS)),
)

SHAPE: Final = tuple(name for _, names in _GROUPS for name in names)
"""The numbers of a shape, in their order; each is stored as log(1 + value)."""


def _shape(prompt: Prompt, text: str, words: list[str]) -> Floats:
    read = _read(prompt, text, words)
    return np.log1p(np.array([value for group, _ in _GROUPS for value in group(read)], dtype=np.float32))
