"""Whether two answers say the same. Pure. Closed answers are taken out of their sentences and compared exactly.

An answer that states a letter, a number, yes or no is compared by that; JSON and tool calls by their values; anything
else by its words. Meaning is compared elsewhere: `UNDECIDED` is for whoever has an encoder.
"""

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

import msgspec

from serving.gateway.said import Said


class Agreement(StrEnum):
    """What a comparison found."""

    SAME = "same"
    """They say the same."""
    OTHER = "other"
    """They do not."""
    UNDECIDED = "undecided"
    """Their words differ; their meaning may not."""


_plain: Final = msgspec.json.Decoder()
_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_LONGEST_STATED: Final = 80
_NUMBER: Final = r"[-+−]?[$€£¥]?\s?\d[\d,]*(?:\.\d+)?"
_NUMBERS: Final = re.compile(_NUMBER)
_ONLY_NUMBER: Final = re.compile(rf"[^\w+−-]{{0,4}}({_NUMBER})\s?(?:%|[^\W\d]{{1,12}})?\W{{0,4}}")
_ONLY_LETTER: Final = re.compile(r"\W{0,4}([A-Za-z])\W{0,4}")
_OPTION: Final = re.compile(r"\W{0,4}\(?([A-H])[).:]\s")
_LABEL: Final = r"(?:final answer|answer|antwort|réponse|reponse|respuesta|risposta|resposta|ответ|答案|正解)"
_STATED: Final = (
    re.compile(r"\\boxed\{([^{}]{1,80})\}"),
    re.compile(r"####\s*(\S[^\n]{0,80})"),
    re.compile(rf"(?i)\b{_LABEL}\**\s*(?:is|ist|est|es|è|é|:|：)\s*\**:?\s*([^\n]{{1,200}})"),  # noqa: RUF001
)
_SENTENCE_END: Final = re.compile(r"[.!?](?:\s|$)|\*\*|\n")
_YES: Final = frozenset({"yes", "true", "correct", "ja", "oui", "sí", "si", "sì", "sim", "да", "是", "はい"})
_NO: Final = frozenset({"no", "false", "incorrect", "nein", "non", "não", "нет", "否", "不是", "いいえ"})
_FIRST_WORD: Final = re.compile(r"\W{0,4}([^\W\d_]+)")
_WORDS: Final = re.compile(r"\w+(?:[.,]\d+)*")
_ARTICLES: Final = frozenset({"a", "an", "the"})


def agree(first: Said, second: Said, *, how: str, is_json: bool = False) -> Agreement:
    """Whether two answers to one question say the same."""
    if first.calls or second.calls:
        return _same(_called(first) == _called(second))
    if is_json:
        return _same(_value(first.text) == _value(second.text))
    one, other = closed(first.text), closed(second.text)
    if one is not None or other is not None:
        return _closed_agree(one or closed_like(other, first.text), other or closed_like(one, second.text))
    return _open_agree(first, second, how=how)


def _open_agree(first: Said, second: Said, *, how: str) -> Agreement:
    if how == "exact":
        return _same(first.text.strip() == second.text.strip())
    if (stated := _stated(first.text)) and (also := _stated(second.text)):
        return _same(normal(stated) == normal(also))
    if normal(first.text) == normal(second.text):
        return Agreement.SAME
    return Agreement.UNDECIDED if how == "semantic" and numbers(first.text) == numbers(second.text) else Agreement.OTHER


def _same(is_same: bool) -> Agreement:  # noqa: FBT001  (a yes becomes a word)
    return Agreement.SAME if is_same else Agreement.OTHER


def _closed_agree(one: str | None, other: str | None) -> Agreement:
    return _same(one is not None and one == other)


def closed(text: str) -> str | None:
    """The letter, number, yes or no that an answer is or states; None where it is open."""
    stated = _stated(text) or (text if len(text) <= _LONGEST_STATED else "")
    if not stated:
        return None
    for found in (_ONLY_LETTER.fullmatch(stated.strip()), _OPTION.match(stated)):
        if found:
            return found[1].upper()
    if (number := _ONLY_NUMBER.fullmatch(stated.strip())) and (value := _decimal(number[1])) is not None:
        return value
    word = _FIRST_WORD.match(stated)
    said = word[1].lower() if word else ""
    is_bare = word is not None and not _WORDS.search(stated[word.end() :].partition(",")[0].partition(".")[0])
    return ("yes" if said in _YES else "no" if said in _NO else None) if is_bare else None


def closed_like(known: str | None, text: str) -> str | None:
    """What an answer in a sentence states, of the kind that the other one is."""
    if known is None or len(text) > 4 * _LONGEST_STATED:
        return None
    if known in {"yes", "no"}:
        word = _FIRST_WORD.match(text)
        said = word[1].lower() if word else ""
        return "yes" if said in _YES else "no" if said in _NO else None
    if known.isalpha():
        found = _OPTION.match(text)
        return found[1].upper() if found else None
    values = [value for found in _NUMBERS.findall(text) if (value := _decimal(found)) is not None]
    return values[-1] if values else None


def _stated(text: str) -> str:
    """What stands after the last `Answer:`, in a box, or after four hashes; empty where nothing does."""
    for pattern in _STATED:
        if found := pattern.findall(text):
            last: str = found[-1].strip().strip("*").strip()
            return _SENTENCE_END.split(last + " ", maxsplit=1)[0].strip()
    return ""


def _decimal(text: str) -> str | None:
    """A number in one spelling: 1,200.50 and 1200.5 are one."""
    plain = text.replace("−", "-").translate({ord(sign): None for sign in ",$€£¥+ "})
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return None
    return f"{value.normalize():f}" if value else "0"


def numbers(text: str) -> list[str]:
    """Numbers of a text, in one spelling, sorted: answers with other numbers never mean the same."""
    return sorted(value for found in _NUMBERS.findall(text) if (value := _decimal(found)) is not None)


def normal(text: str) -> tuple[str, ...]:
    """The words of a text without case, punctuation and articles."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())
    return tuple(word for word in words if word not in _ARTICLES)


def _called(answer: Said) -> list[tuple[str, bytes]]:
    return sorted((call.name, msgspec.json.encode(_value(call.arguments), order="sorted")) for call in answer.calls)


def _value(text: str) -> Any:
    """A JSON text's value; numbers are one whatever their spelling. A text that is no JSON is itself."""
    try:
        return _plain.decode(text)
    except _WRONG:
        return text.strip()
