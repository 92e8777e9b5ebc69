"""Whether a text may hold personal data or a secret. Rules anybody can read; they err towards yes. Pure.

Names alone are not found: an answer about a person is kept for the same tenant, app and question only.
"""

import re
from typing import Final

_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.\w{2,}")
_NUMBER: Final = re.compile(r"(?<![\w.])\+?\(?\d(?:[ ()./-]{0,2}\d){6,18}(?![\w])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
_TOKEN: Final = re.compile(r"\b(?:sk|pk|rk|tl|gh[po]|xox[abp]|glpat|AKIA|eyJ)[-_]?[A-Za-z0-9_-]{14,}")
_TOKEN_HINTS: Final = ("sk-", "sk_", "pk_", "pk-", "rk_", "tl_", "tl-", "ghp_", "gho_", "xox", "glpat", "AKIA", "eyJ")
_SECRET: Final = re.compile(
    r"-----begin [a-z ]*private key"
    r"|\b(?:password|passwort|passcode|pin|secret|token|api[ _-]?key)\s*(?:is|[:=])\s*\S{4,}"
)
_SECRET_HINTS: Final = ("private key", "password", "passwort", "passcode", "pin", "secret", "token", "api")
_DIGITS: Final = re.compile(r"\d(?:[ ()./-]{0,2}\d){6}")
_OWN: Final = re.compile(
    r"\bmy (?:full |first |last )?name is\b|\bi am called\b|\bmy (?:home |street |postal )?address is\b|\bi live at\b"
    r"|\bmy (?:date of birth|birthday|ssn|social security number|passport(?: number)?) is\b|\bborn on\b"
    r"|\bich heiße\b|\bmein name ist\b|\bje m['\u2019]appelle\b|\bme llamo\b",
)
_YEARS: Final = re.compile(
    r"(?:1[89]|20)\d\d ?[-/] ?(?:1[89]|20)?\d\d|(?:1[89]|20)\d\d[-/.]\d\d?[-/.]\d\d?(?:[ T]\d\d?)?"
)
_LEAST_DIGITS: Final = 7
_HINTS: Final = ("my ", "i am", "i live", "born", "ich ", "mein", "je m", "me llamo")


def is_personal(text: str) -> bool:
    """Whether it holds an e-mail address, a long number such as a phone's or card's, a secret, who I am."""
    # Plain searches for substrings first: they cost a tenth of a pattern, and most texts have none.
    if "@" in text and _EMAIL.search(text):
        return True
    if _DIGITS.search(text) and (_IBAN.search(text) or any(_identifies(one.group()) for one in _NUMBER.finditer(text))):
        return True
    if any(hint in text for hint in _TOKEN_HINTS) and _TOKEN.search(text):
        return True
    low = text.lower()
    if any(hint in low for hint in _SECRET_HINTS) and _SECRET.search(low):
        return True
    return any(hint in low for hint in _HINTS) and bool(_OWN.search(low))


def _identifies(number: str) -> bool:
    """Whether a run of digits is long enough to be somebody's, and no date or range of years."""
    digits = sum(map(str.isdigit, number))
    return digits >= _LEAST_DIGITS and not _YEARS.fullmatch(number.strip())
