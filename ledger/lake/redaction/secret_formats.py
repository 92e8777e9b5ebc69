"""Keys, tokens, passwords and connection strings, by the formats their issuers publish. Pure, linear in the text.

Each format names a few letters that must be there for it to be looked for, so a text without any costs next to nothing.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger.lake.redaction.finding import Finding


class Format(NamedTuple):
    """How one kind of secret looks."""

    entity: str
    """Its name in a placeholder."""
    marks: tuple[str, ...]
    """One of these must be in the text, in lower case."""
    pattern: re.Pattern[str]
    """The secret: its group `secret`, else the whole match."""
    score: float = 1.0
    """How sure."""


def _format(entity: str, marks: tuple[str, ...], *, pattern: str, score: float = 1.0) -> Format:
    return Format(entity, marks, re.compile(pattern), score)


FORMATS: Final = (
    _format(
        "PRIVATE_KEY",
        ("private key",),
        pattern=r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[^-]|-(?!----END))*(?:-----END [A-Z0-9 ]{0,30}-----)?",
    ),
    _format(
        "JWT",
        ("eyj",),
        pattern=r"(?<![\w-])eyJ[\w-]{8,}\.(?:eyJ)?[\w-]{8,}(?:\.[\w-]*){0,3}",
    ),
    _format(
        "CONNECTION_STRING",
        ("://",),
        pattern=r"(?<![\w+.-])[a-zA-Z][\w+.-]{1,20}://[^\s:/@'\"<>]{0,128}:[^\s/@'\"<>]{1,256}@[^\s'\"<>]{1,256}",
    ),
    _format(
        "CONNECTION_STRING",
        ("password=", "pwd=", "accountkey=", "sharedaccesskey="),
        pattern=r"(?i)(?:[\w ]{2,40}=[^;\s'\"]{1,200};\s?){1,12}"
        r"(?:password|pwd|accountkey|sharedaccesskey)=[^;\s'\"]{3,200}(?:;[\w ]{2,40}=[^;\s'\"]{1,200}){0,12};?",
    ),
    _format("SECRET", ("sk-",), pattern=r"(?<![\w-])sk-(?:ant-|proj-|svcacct-|admin-|or-v1-|lf-)?[\w-]{16,200}"),
    _format("SECRET", ("tl-",), pattern=r"(?<![\w-])tl-[\w-]{32,64}"),
    _format("SECRET", ("gh", "github_pat_"), pattern=r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{30,255})"),
    _format("SECRET", ("glpat-", "gldt-", "glrt-"), pattern=r"(?<!\w)gl(?:pat|dt|rt)-[\w-]{18,64}"),
    _format("SECRET", ("xox", "xapp-"), pattern=r"(?<!\w)(?:xox[abeoprs]-|xapp-)[\w-]{10,250}"),
    _format("SECRET", ("hooks.slack.com",), pattern=r"hooks\.slack\.com/(?:services|workflows)/[\w/]{20,120}"),
    _format("SECRET", ("akia", "asia", "aroa", "aida"), pattern=r"(?<!\w)(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}(?!\w)"),
    _format("SECRET", ("aiza",), pattern=r"(?<!\w)AIza[\w-]{35}"),
    _format("SECRET", ("ya29.",), pattern=r"(?<!\w)ya29\.[\w-]{20,400}"),
    _format("SECRET", ("_live_", "_test_"), pattern=r"(?<!\w)(?:sk|rk|pk|whsec)_(?:live|test)_[A-Za-z0-9]{10,250}"),
    _format("SECRET", ("hf_",), pattern=r"(?<!\w)hf_[A-Za-z0-9]{30,64}"),
    _format("SECRET", ("npm_",), pattern=r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)"),
    _format("SECRET", ("pypi-",), pattern=r"(?<!\w)pypi-[\w-]{50,400}"),
    _format("SECRET", ("sg.",), pattern=r"(?<!\w)SG\.[\w-]{16,32}\.[\w-]{30,64}"),
    _format("SECRET", ("dop_v1_", "doo_v1_"), pattern=r"(?<!\w)do[op]_v1_[a-f0-9]{64}"),
    _format("SECRET", ("dapi",), pattern=r"(?<!\w)dapi[a-f0-9]{32}(?:-\d)?(?!\w)"),
    _format("SECRET", ("r8_", "gsk_", "pplx-", "xai-", "nvapi-"),
            pattern=r"(?<!\w)(?:r8_|gsk_|pplx-|xai-|nvapi-)[\w-]{24,200}"),
    _format("SECRET", ("bearer ", "basic "), pattern=r"(?i)(?<!\w)(?:bearer|basic) (?P<secret>[\w.~+/-]{16,2000}=*)"),
    _format(
        "SECRET",
        ("key", "secret", "token", "passw", "pwd", "credential"),
        # The value of something that calls itself a secret; a word of a sentence after a colon is none.
        pattern=r"(?i)(?:api[_ -]?key|access[_ -]?key|account[_ -]?key|secret(?:[_ -]?\w{1,20})?|client[_ -]?secret|"
        r"(?:access|auth|refresh|id|api|bot)?[_ -]?token|passwor[dt]|passwd|passphrase|pwd|credentials?)"
        r"[\"']?\s{0,3}(?:[:=]|=>|is)\s{0,3}[\"'`]?"
        r"(?P<secret>(?=[^\s\"'`,;<>]{0,200}[\d!@#$%^&*])[^\s\"'`,;<>(){}\[\]]{6,400})",
        score=0.6,
    ),
)  # fmt: skip
"""Formats of secrets."""


def secrets(text: str) -> Iterator[Finding]:
    """Every secret of a known format."""
    lowered = text.lower()
    for one in FORMATS:
        if any(mark in lowered for mark in one.marks):
            group = "secret" if "secret" in one.pattern.groupindex else 0
            for match in one.pattern.finditer(text):
                yield Finding(match.start(group), match.end(group), one.entity, one.score)
