"""Deterministic checks of one answer: the same answer and rules, the same verdict, on any machine. Pure.

A check that does not apply (no schema given, too little text to tell a language) is not made, and counts for nothing.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import jsonschema_rs
import msgspec
import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from dags.core import words
from dags.core.attempts import Attempt, Score
from dags.core.refusals import refuses

CHECKS: Final = "1"
"""Version of the checks in this file; raise it when one decides otherwise."""

_CUT_OFF: Final = frozenset({"length", "max_tokens", "MAX_TOKENS", "content_filter", "SAFETY", "RECITATION"})
_LEAST_LETTERS: Final = 60
"""Fewer letters do not tell a language."""
_SURE: Final = 0.99
_CODE: Final = regex.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[A-Z_]+>", regex.DOTALL)
_LETTER: Final = regex.compile(r"\p{L}")
_ALIKE: Final = (frozenset({"no", "nb", "nn", "da"}), frozenset({"hr", "sr", "bs"}), frozenset({"id", "ms", "jv"}))
"""Languages that a detector confuses: one for the other is not held against an answer."""


class FeatureRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What answers of one feature must be."""

    schema: dict[str, Any] | None = None
    """JSON Schema of the whole answer; without one it may be any text."""
    language: str | None = None
    """ISO 639-1 code; without one, the language of the question."""
    least_chars: int = 1
    """Shortest answer."""
    most_chars: int = 100_000
    """Longest answer."""


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What answers must be."""

    default: FeatureRules = FeatureRules()
    """Of a feature without rules of its own."""
    features: dict[str, FeatureRules] = {}
    """Feature → its rules."""


def rules(text: str, *, where: str) -> Rules:
    """The rules a TOML text states; ValueError says what is wrong with them."""
    try:
        found = msgspec.convert(tomllib.loads(text), Rules)
        for one in (found.default, *found.features.values()):
            if one.schema is not None:
                jsonschema_rs.meta.validate(one.schema)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, jsonschema_rs.ValidationError) as error:
        raise ValueError(f"{where}: {error}") from None
    return found


def version(given: Rules) -> str:
    """Hash of the checks and the rules: scores of another version are made again."""
    text = msgspec.json.encode([CHECKS, given], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:12]


def check(attempt: Attempt, given: Rules) -> Score:
    """Which checks were made and which failed."""
    own = given.features.get(attempt.text.feature or "", given.default)
    verdicts = {name: judge(attempt, own) for name, judge in _CHECKS.items()}
    return Score(
        checked=tuple(name for name, verdict in verdicts.items() if verdict is not None),
        failed=tuple(name for name, verdict in verdicts.items() if verdict is False),
    )


def unreadable() -> Score:
    """Of a text that is no JSON: it failed the one check that could be made."""
    return Score(checked=("readable",), failed=("readable",))


def _answered(attempt: Attempt, _own: FeatureRules) -> bool | None:
    return attempt.answer is not None and bool(words.spoken(attempt.answer).strip())


def _finished(attempt: Attempt, _own: FeatureRules) -> bool | None:
    return None if attempt.text.finish_reason is None else attempt.text.finish_reason not in _CUT_OFF


def _said(attempt: Attempt) -> str | None:
    """The text of the answer; None where it only calls tools or says nothing."""
    said = words.plain(attempt.answer.get("content")).strip() if attempt.answer else ""
    return said or None


def _length(attempt: Attempt, own: FeatureRules) -> bool | None:
    said = _said(attempt)
    return None if said is None else own.least_chars <= len(said) <= own.most_chars


def _refusal(attempt: Attempt, _own: FeatureRules) -> bool | None:
    if attempt.answer is not None and attempt.answer.get("refusal"):
        return False
    said = _said(attempt)
    return None if said is None else not refuses(said)


def _language(attempt: Attempt, own: FeatureRules) -> bool | None:
    said = _said(attempt)
    spoken = None if said is None else language(said)
    asked = own.language or language(words.prompt(attempt.messages))
    if spoken is None or asked is None:
        return None
    return spoken == asked or any({spoken, asked} <= alike for alike in _ALIKE)


def language(text: str) -> str | None:
    """ISO 639-1 code; None where there is too little to tell, or the detector is not sure."""
    bare = _CODE.sub(" ", text)[:4_000]
    if len(_LETTER.findall(bare)) < _LEAST_LETTERS:
        return None
    found, sure = _identifier().classify(bare)
    return str(found) if sure >= _SURE else None


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _schema(attempt: Attempt, own: FeatureRules) -> bool | None:
    said = _said(attempt)
    if own.schema is None or said is None:
        return None
    try:
        return bool(_validator(msgspec.json.encode(own.schema)).is_valid(msgspec.json.decode(said)))
    except (msgspec.DecodeError, RecursionError):
        return False


def _tool_calls(attempt: Attempt, _own: FeatureRules) -> bool | None:
    calls = (attempt.answer or {}).get("tool_calls")
    if not calls:
        return None
    offered = {name: schema for name, schema in map(_tool, attempt.tools or ()) if name is not None}
    return isinstance(calls, list) and all(_fits(call, offered) for call in calls)


def _tool(tool: Any) -> tuple[str | None, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    return (function.get("name"), function.get("parameters")) if isinstance(function, dict) else (None, None)


def _fits(call: Any, offered: Mapping[str, Any]) -> bool:
    """Whether a tool that was offered is called with arguments that its schema takes."""
    name, _ = _tool(call)
    if name is None or name not in offered:
        return False
    arguments = call["function"].get("arguments")
    try:
        given = msgspec.json.decode(arguments or "{}") if isinstance(arguments, str | None) else arguments
        return offered[name] is None or bool(_validator(msgspec.json.encode(offered[name])).is_valid(given))
    except (msgspec.DecodeError, RecursionError, ValueError):  # of a schema that is none, too: nothing can fit it
        return False


@cache
def _validator(schema: bytes) -> Any:
    return jsonschema_rs.validator_for(msgspec.json.decode(schema))


_CHECKS: Final[dict[str, Callable[[Attempt, FeatureRules], bool | None]]] = {
    "answered": _answered,
    "finished": _finished,
    "length": _length,
    "refusal": _refusal,
    "language": _language,
    "schema": _schema,
    "tool_calls": _tool_calls,
}

NAMES: Final[Sequence[str]] = (*_CHECKS, "readable")
"""Every check."""
