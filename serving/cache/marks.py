"""What of a question must not differ for an answer to hold: numbers, negations, names, units, dates, language. Pure.

Two questions may be close in every encoder and differ in one digit. Marks are found by rules anybody can read, and
where the rules err they err towards asking a model.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Final

import msgspec

from serving.cache import words
from serving.cache.places import PLACES

_WORD: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[%$€£¥]|°[CFcf]?")
_IDENTIFIER: Final = re.compile(
    r"\"[^\"\n]{1,80}\"|\u201c[^\u201d\n]{1,80}\u201d|`[^`\n]{1,80}`|(?<!\w)'[^'\n]{2,80}'(?!\w)"
    r"|\b\w+(?:[_@#][\w.]+|\.[a-z]\w+|[-/]\w*\d\w*|(?<=[a-z])[A-Z]\w*|(?<=[A-Za-z])\d\w*)\b|#\w+|\+\+"
)
_SENTENCE_START: Final = re.compile(r"(?:^|[.?!:;\n\"\u201c(])\s*[\"\u201c(]*$")
_CAPITAL: Final = re.compile(r"\b[A-Z][\w\u2019'&-]*")
_JOINING: Final = frozenset({"and"})
_DATE: Final = re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}(?:[./]\d{2,4})?\b|\b\d{1,2}:\d{2}\b")
_SHORTENED: Final = re.compile(r"n['\u2019]t$")
_SUFFIX: Final = re.compile(r"(?:['\u2019]s|ies|es|s|ing|ed|ly|er)$")
_NO_NAMES: Final = frozenset({*words.FUNCTION_WORDS, *words.DATES, *words.UNITS, *words.NUMBER_WORDS})
"""Words that are no name though they have a capital; most have a guard of their own."""
_STEM_CHARS: Final = 3
_SCRIPT_SHARE: Final = 0.3


class Marks(msgspec.Struct, frozen=True, gc=False):
    """A question's marks, in forms that can be compared."""

    numbers: tuple[float, ...]
    """Every number, in ascending order; words for numbers too."""
    negations: int
    """How often something is negated."""
    names: frozenset[str]
    """Names, quoted words and identifiers, in lower case."""
    units: frozenset[str]
    """Units and currencies."""
    dates: frozenset[str]
    """Dates, days, months, times of day, `next week`."""
    language: str
    """Best guess; empty where there is too little to guess from."""
    asks: str
    """`who`, `when`, `where`, `why`, `how many`; empty for what is not said by a word alone."""
    stems: tuple[str, ...]
    """Words that carry meaning, cut to their stems, in order."""
    words: frozenset[str]
    """Every word, in lower case."""
    things: tuple[str, ...]
    """Names, units and numbers in the order in which they stand."""


@lru_cache(maxsize=4_096)
def marks_of(text: str) -> Marks:
    """The marks of a question."""
    text = unicodedata.normalize("NFKC", text)
    tokens = [token.lower() for token in _WORD.findall(text)]
    present = frozenset(tokens)
    names = _names(text, present)
    return Marks(
        numbers=_numbers(tokens),
        negations=sum(token in words.NEGATIONS or bool(_SHORTENED.search(token)) for token in tokens),
        names=names,
        units=frozenset(words.UNITS[token] for token in tokens if token in words.UNITS),
        dates=_dates(text, tokens),
        language=_language(text, tokens),
        asks=_asks(tokens),
        stems=tuple(stem(token) for token in tokens if token not in words.FUNCTION_WORDS and token[0].isalpha()),
        words=present,
        things=tuple(token for token in tokens if token in names or token in words.UNITS or token[0].isdecimal()),
    )


def stem(word: str) -> str:
    """A word without its commonest endings."""
    cut = _SUFFIX.sub("", word)
    return (cut if len(cut) >= _STEM_CHARS else word)[:8]


def _numbers(tokens: list[str]) -> tuple[float, ...]:
    found: list[float] = []
    running = 0.0
    for token in tokens:
        value = words.NUMBER_WORDS.get(token)
        if value is not None and (value != 1 or running):
            if running and not _continues(running, value):
                found.append(running)
                running = 0.0
            running += value
        elif token in _JOINING and running and running % 100 == 0:
            continue
        elif token in words.MULTIPLIERS and (running or found):
            running = (running or found.pop()) * words.MULTIPLIERS[token]
        else:
            if running:
                found.append(running)
                running = 0.0
            if token[0].isdecimal():
                found.append(_value(token))
            elif token in words.OTHER_NUMBERS or token in words.ORDINALS:
                found.append(words.OTHER_NUMBERS.get(token) or words.ORDINALS[token])
    if running:
        found.append(running)
    return tuple(sorted(found))


def _continues(running: float, value: int) -> bool:
    """Whether a number word goes on with the one before: `twenty two`, `hundred five`, but not `two five`."""
    return running % 100 == 0 or (running % 100 >= 20 and running % 10 == 0 and value < 10)  # noqa: PLR2004


def _value(token: str) -> float:
    """`1,000.5` and `1.000,5` and `7`. What cannot be told apart is read as thousands."""
    whole = token.replace(",", "") if "," in token and "." in token else token.replace(",", ".")
    head, dot, tail = whole.rpartition(".")
    if dot and len(tail) == 3 and head.replace(".", "").isdigit():  # noqa: PLR2004 - a group of thousands
        return float((head + tail).replace(".", ""))
    return float(head.replace(".", "") + dot + tail)


def _names(text: str, present: frozenset[str]) -> frozenset[str]:
    found = {match.group().strip("\"\u201c\u201d`'").lower() for match in _IDENTIFIER.finditer(text)}
    capitals = list(_CAPITAL.finditer(text))
    shouted = text.isupper()
    for match in capitals:
        word = match.group()
        starts = bool(_SENTENCE_START.search(text[: match.start()]))
        if shouted or word in {"I", "I'm", "I\u2019m", "I've", "I'd", "I'll"} or word.lower() in _NO_NAMES:
            continue
        if not starts or (word.isupper() and len(word) > 1):
            found.add(_bare(word))
    return frozenset(found) | (present & PLACES)


def _bare(word: str) -> str:
    return re.sub(r"['\u2019]s$", "", word).lower()


def _dates(text: str, tokens: list[str]) -> frozenset[str]:
    found = set(_DATE.findall(text)) | {words.DATES[token] for token in tokens if token in words.DATES}
    for one, following in pairwise(tokens):
        if one in words.RELATIVE and (following in words.PERIODS or following in words.DATES):
            found.add(f"{one} {words.DATES.get(following, following)}")
    return frozenset(found)


def _asks(tokens: list[str]) -> str:
    for one, following in pairwise([*tokens, ""]):
        if one in words.ASKING:
            return words.ASKING[one]
        if one == "how" and following in {"many", "much", "long", "often", "old", "far", "big", "tall", "high"}:
            return f"how {following}"
    return ""


def _language(text: str, tokens: list[str]) -> str:
    """By script, else by the short words that are frequent in one language."""
    scripts = Counter(_script(char) for char in text if char.isalpha())
    total = sum(scripts.values())
    foreign = [(count, script) for script, count in scripts.items() if script]
    if foreign and max(foreign)[0] > _SCRIPT_SHARE * total:
        return max(foreign)[1]
    hits = {name: sum(token in short for token in tokens) for name, short in words.LANGUAGES.items()}
    best = max(hits.values())
    leaders = [name for name, count in hits.items() if count == best]
    return leaders[0] if best >= 2 and len(leaders) == 1 else ""  # noqa: PLR2004 - one word says too little


def _script(char: str) -> str:
    """Empty for Latin."""
    if char < "\u0250":
        return ""
    return unicodedata.name(char, "").partition(" ")[0].lower()
