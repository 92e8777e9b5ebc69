"""One conversation without personal data and secrets: the same thing gives the same placeholder all through it."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ledger.lake.redaction.finding import Finding, Recogniser, joined
from ledger.lake.redaction.patterns import patterns
from ledger.lake.redaction.secret_formats import secrets
from tokenledger.texts import Conversation, Message

VERSION: Final = "1"
"""Raised when a rule changes; stands on every row."""

_KEPT: Final = frozenset({"role", "type"})
"""Fields whose words are the format's own."""
_IDS: Final = frozenset({"id", "tool_call_id"})
_PLACEHOLDER: Final = re.compile(r"<[A-Z_]+(?:_\d+)?>")
_SEPARATORS: Final = re.compile(r"[\s./()-]+")
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Redacted(msgspec.Struct, frozen=True, kw_only=True):
    """What may be written."""

    conversation: Conversation
    """The conversation with placeholders."""
    counts: dict[str, int]
    """Replacements made, by entity."""


class Redactor:
    """Finds by format and pattern, and by whatever recognisers it was given beside them."""

    def __init__(self, recognisers: Sequence[Recogniser] = ()) -> None:
        self._recognisers: tuple[Recogniser, ...] = (secrets, patterns, *recognisers)

    def findings(self, text: str) -> list[Finding]:
        """What must not stay, in order; what is a placeholder already is nothing."""
        placed = [match.span() for match in _PLACEHOLDER.finditer(text)] if "<" in text else []
        found = [one for recognise in self._recognisers for one in recognise(text)]
        return joined(one for one in found if not any(one.start < end and start < one.end for start, end in placed))

    def redact(self, conversation: Conversation) -> Redacted:
        """The conversation as it may be written."""
        pass_ = _Pass(self.findings)
        return Redacted(
            conversation=Conversation(
                messages=[pass_.value(message) for message in conversation.messages],
                tools=None if conversation.tools is None else pass_.value(conversation.tools),
                answer=None if conversation.answer is None else pass_.value(conversation.answer),
            ),
            counts=dict(sorted(pass_.counts.items())),
        )


class _Pass:
    """One conversation: numbers are given in the order things first occur."""

    def __init__(self, findings: Callable[[str], list[Finding]]) -> None:
        self._findings = findings
        self._numbers: dict[str, dict[str, int]] = {}
        self.counts: dict[str, int] = {}

    def value(self, value: Any, name: str = "") -> Any:
        """The same with every text redacted; what is no text is looked at too where it is a long number."""
        if isinstance(value, str):
            if name in _KEPT or (name in _IDS and not _looks_personal(value)):
                return value
            return self._arguments(value) if name == "arguments" else self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, name) for item in value]
        return value

    def text(self, text: str, before: str = "") -> str:
        """The text with placeholders; `before` is what stands before it, such as the name of its field."""
        if not text:
            return text
        pieces, at, shift = [], 0, len(before)
        for one in self._findings(before + text):
            start, end = max(one.start - shift, 0), one.end - shift
            if end > start:
                pieces += [text[at:start], self._placeholder(one.entity, text[start:end])]
                at = end
        return "".join([*pieces, text[at:]]) if pieces else text

    def _arguments(self, text: str) -> str:
        """A tool's arguments stay JSON: each value is looked at beside its name, numbers too."""
        try:
            decoded = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            return self.text(text)
        if not isinstance(decoded, (dict, list)):
            return self.text(text)
        redacted = self._argument(decoded, "")
        return text if redacted == decoded else _encode(redacted).decode()

    def _argument(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {self.text(key): self._argument(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._argument(item, name) for item in value]
        if isinstance(value, str):
            return self.text(value, before=f"{name}: " if name else "")
        if isinstance(value, int) and not isinstance(value, bool):
            written = str(value)
            redacted = self.text(written, before=f"{name}: " if name else "")
            return value if redacted == written else redacted
        return value

    def _placeholder(self, entity: str, found: str) -> str:
        self.counts[entity] = self.counts.get(entity, 0) + 1
        numbers = self._numbers.setdefault(entity, {})
        # One number is one number, however it is spaced.
        return f"<{entity}_{numbers.setdefault(_SEPARATORS.sub('', found).casefold(), len(numbers) + 1)}>"


def _looks_personal(value: str) -> bool:
    return "@" in value or " " in value


def only_messages(messages: list[Message]) -> Conversation:
    """A conversation of nothing but these."""
    return Conversation(messages=messages)
