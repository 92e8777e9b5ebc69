"""Which requests the cache may answer, and whose answers it may keep: rules by the request alone, before any look-up.

Pure. A caller's wish forbids or tightens; what it cannot say is to allow or to loosen.
"""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw

from serving.cache.asking import Asking
from serving.cache.configuration import RouteCache
from serving.cache.personal import is_personal
from serving.cache.records import Reason
from serving.cache.words import TIME_WORDS

LONGEST_BYTES: Final = 32_768
"""Longer conversations are not kept: they hardly come twice, and looking through them costs more than it brings."""
_MARKS: Final = str.maketrans(dict.fromkeys('.,;:!?()[]{}<>"*/&+=|\\`\u2026\u201c\u201d\u00bf\u00a1', " "))
_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOTHING: Final = frozenset({b"null", b"[]", b"{}", b"false", b'"none"'})
_value: Final = msgspec.json.Decoder()


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says in `x-tokenledger-cache`."""

    look_up: bool = True
    """Whether it may be answered from a cache."""
    keep: bool = True
    """Whether its answer may be kept."""
    semantic: bool = True
    """Whether another question's answer may be given."""
    least_similarity: float = 0.0
    """How near another question must be; the operator's figure holds where it is higher."""
    longest_age_s: int | None = None
    """Oldest answer it wants; the operator's figure holds where it is lower."""
    knowledge: str = ""
    """Version of the knowledge the caller rests on; another one is another cache."""


_OFF: Final = Wish(look_up=False, keep=False)


@lru_cache(maxsize=1_024)
def wish_of(header: bytes | None) -> Wish:
    """The wish in a header: `no-cache, no-store, exact-only, min-similarity=0.97, max-age=60, knowledge=v3, off`.

    What is not understood switches the cache off for the request: that is never wrong.
    """
    if not header:
        return Wish()
    found: dict[str, Any] = {}
    for part in header.decode("utf-8", "replace")[:256].split(","):
        name, _, value = part.strip().partition("=")
        match name.lower(), value:
            case "no-cache", "":
                found["look_up"] = False
            case "no-store", "":
                found["keep"] = False
            case "exact-only", "":
                found["semantic"] = False
            case "max-age", _ if value.isdecimal() and len(value) < 10:  # noqa: PLR2004 - thirty years
                found["longest_age_s"] = int(value)
            case "min-similarity", _ if re.fullmatch(r"0(\.\d{1,6})?|1(\.0{1,6})?", value):
                found["least_similarity"] = float(value)
            case "knowledge", _ if 0 < len(value) <= 128:  # noqa: PLR2004 - as long as the operator's
                found["knowledge"] = value
            case _:
                return _OFF
    return Wish(**found)


def forbidden(members: dict[str, Raw], asking: Asking | None, *, rules: RouteCache) -> Reason | None:
    """Why the request has nothing to do with the cache, or None."""
    if asking is None or not asking.question:
        return "media" if asking is not None and asking.media else "no_question"
    if len(bytes(members["messages"])) > LONGEST_BYTES:
        return "too_long"
    return _by_settings(members, rules) or _by_messages(asking, rules)


def _by_settings(members: dict[str, Raw], rules: RouteCache) -> Reason | None:
    if _number(members.get("n"), 1) != 1:
        return "several_choices"
    if _number(members.get("temperature"), 1) > rules.highest_temperature:
        return "hot"
    if "web_search_options" in members or any(map(_is_live, _list(members.get("tools")))):
        return "live_tools"
    if _is_there(members.get("audio")) or any(kind != "text" for kind in _list(members.get("modalities"))):
        return "media"
    return None


def _by_messages(asking: Asking, rules: RouteCache) -> Reason | None:
    if "tool" in asking.roles or "function" in asking.roles:
        return "tool_results"
    if asking.media:
        return "media"
    if not rules.time_words and not TIME_WORDS.isdisjoint(asking.question.lower().translate(_MARKS).split()):
        return "time_words"
    return "personal_data" if any(map(is_personal, asking.texts)) else None


def _is_there(member: Raw | None) -> bool:
    return member is not None and bytes(member) not in _NOTHING


def _number(member: Raw | None, default: float) -> float:
    """What is no number counts as too much."""
    if member is None or bytes(member) == b"null":
        return default
    try:
        value = float(bytes(member))
    except ValueError:
        return float("inf")
    return value if value == value else float("inf")  # noqa: PLR0124 - NaN


def _list(member: Raw | None) -> list[Any]:
    if not _is_there(member) or member is None:
        return []
    try:
        value = _value.decode(member)
    except _WRONG:
        return [None]
    return value if isinstance(value, list) else [None]


def _is_live(tool: Any) -> bool:
    """Whether a tool is anything but a function of the caller's: a search looks at another world each time."""
    return not (isinstance(tool, dict) and tool.get("type") == "function")
