"""Presidio's pattern recognisers without a language model, and ours: which are asked, and when each is believed.

A finding with a right check digit, or a form nothing else has, counts alone. A bare row of digits counts only beside a
word that names it. Presidio takes seconds to import: whoever has no text to redact does without.
"""

import re
from functools import cache
from typing import Any, Final, NamedTuple

from presidio_analyzer import PatternRecognizer
from presidio_analyzer import predefined_recognizers as presidio

from ledger.lake.redaction import national

NEVER: Final = 2.0
"""A score no finding has: a word beside it is needed."""
_VALID: Final = 1.0


class EmailRecognizer(presidio.EmailRecognizer):
    """An address by its form: Presidio's own asks a list of public suffixes, and lets internal hosts pass."""

    def validate_result(self, pattern_text: str) -> None:
        """The form decides."""


class Rule(NamedTuple):
    """A recogniser and when it is believed."""

    recogniser: PatternRecognizer
    """Finds."""
    hint: re.Pattern[str]
    """What must be in the text at all."""
    alone: float
    """Least score to be believed without a word beside it."""
    beside: float
    """Least score to be believed with one."""
    words: re.Pattern[str] | None
    """These words."""


def _rule(recogniser: Any, hint: str, *, alone: float = NEVER, beside: float = 0.0, words: str = "") -> Rule:
    return Rule(recogniser, re.compile(hint), alone, beside, re.compile(rf"(?i)\b(?:{words})") if words else None)


_DIGITS_4: Final = r"\d{4}"
_DIGITS_7: Final = r"\d(?:[ .-]?\d){6}"
_DIGITS_9: Final = r"\d(?:[ .-]?\d){8}"
_DIGITS_11: Final = r"\d(?:[ ._-]?\d){10}"
_DIGITS_12: Final = r"\d(?:[ .-]?\d){11}"


@cache
def rules() -> tuple[Rule, ...]:
    """Every recogniser that is asked."""
    return (*_everywhere(), *_american(), *_european(), *_elsewhere())


def _everywhere() -> tuple[Rule, ...]:
    return (
        _rule(EmailRecognizer(), "@", alone=0.4),
        _rule(presidio.CreditCardRecognizer(), _DIGITS_12, alone=_VALID),
        _rule(presidio.IbanRecognizer(), r"[A-Z]{2}\d{2}", alone=_VALID),
        _rule(presidio.CryptoRecognizer(), r"(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}", alone=_VALID),
        _rule(national.IpAddressRecognizer(), r"\d\.\d{1,3}\.\d|[\da-fA-F]{0,4}:[\da-fA-F]{0,4}:", alone=0.6),
        _rule(presidio.MacAddressRecognizer(), r"[\dA-Fa-f]{2}[:-][\dA-Fa-f]{2}[:-]|[\dA-Fa-f]{4}\.[\dA-Fa-f]{4}\.",
              alone=0.6),
        _rule(national.PhoneNumberRecognizer(), _DIGITS_7, alone=0.5, beside=0.2,
              words="phone|tel|mobil|cell|call|fax|handy|whatsapp|sms|ring|contact|móvil|numéro|numero|telefon|"
                    "téléphone|celular|portable|reach"),
        _rule(national.BirthDateRecognizer(), r"\d{4}|\d[./-]\d", beside=0.3,
              words="born|birth|dob|d\\.o\\.b|geboren|geburtsdatum|née?\\b|naissance|nacid[oa]|nacimiento|nat[oa]\\b|"
                    "geboortedatum|urodzon"),
    )  # fmt: skip


def _american() -> tuple[Rule, ...]:
    return (
        _rule(presidio.UsSsnRecognizer(), _DIGITS_9, alone=0.5, beside=0.05, words="ssn|social|ssid"),
        _rule(presidio.UsItinRecognizer(), _DIGITS_9, alone=0.5, beside=0.05, words="itin|taxpayer|tin\\b"),
        _rule(presidio.UsMbiRecognizer(), r"\d[A-Z][\dA-Z]\d", alone=0.5, beside=0.3, words="medicare|mbi|beneficiary"),
        _rule(presidio.UsPassportRecognizer(), r"\d{8}", beside=0.05, words="passport"),
        _rule(presidio.UsBankRecognizer(), r"\d{8}", beside=0.05, words="account|acct|bank"),
        _rule(presidio.UsLicenseRecognizer(), _DIGITS_4, beside=0.3,
              words="driver|driving|license (?:no|num|#)|licence (?:no|num|#)|dl\\b"),
        _rule(presidio.UsNpiRecognizer(), _DIGITS_9, beside=_VALID, words="npi|national provider"),
        _rule(presidio.AbaRoutingRecognizer(), r"\d{4}", beside=_VALID, words="routing|aba\\b"),
        _rule(presidio.MedicalLicenseRecognizer(), r"\d{7}", beside=_VALID, words="dea\\b|medical|certificate"),
        _rule(national.CanadianSinRecognizer(), _DIGITS_9, beside=_VALID, words="sin\\b|social insurance|nas\\b"),
        _rule(national.BrazilianCpfRecognizer(), _DIGITS_11, alone=NEVER, beside=_VALID, words="cpf"),
        # Written with its points and hyphen it is one without a word beside it.
        _rule(national.BrazilianCpfRecognizer(formatted=True), r"\d\.\d{3}\.\d{3}-\d", alone=_VALID),
    )  # fmt: skip


def _european() -> tuple[Rule, ...]:
    return (
        _rule(presidio.UkNinoRecognizer(), r"[A-Za-z] ?\d{2} ?\d{2}", alone=0.5),
        _rule(presidio.NhsRecognizer(), _DIGITS_9, beside=_VALID, words="nhs|national health|health service"),
        _rule(presidio.UkPassportRecognizer(), r"\d{7}", beside=0.1, words="passport"),
        _rule(presidio.EsNifRecognizer(), r"\d{7}", alone=_VALID),
        _rule(presidio.EsNieRecognizer(), r"\d{7}", alone=_VALID),
        _rule(presidio.ItFiscalCodeRecognizer(), r"[A-Za-z]{6}[\dLMNP-Vlmnp-v]{2}", alone=_VALID),
        _rule(national.PolishPeselRecognizer(), r"(?<!\d)\d{11}(?!\d)", alone=_VALID),
        _rule(presidio.FiPersonalIdentityCodeRecognizer(), r"\d{6}[-+A-FU-Y]\d{3}", alone=_VALID),
        _rule(national.GermanTaxIdRecognizer(), _DIGITS_11, beside=_VALID,
              words="steuer|idnr|tax id|identifikationsnummer"),
        _rule(national.FrenchNirRecognizer(), _DIGITS_11, alone=_VALID),
        _rule(national.DutchBsnRecognizer(), _DIGITS_9, beside=_VALID, words="bsn|burgerservice|sofinummer"),
    )  # fmt: skip


def _elsewhere() -> tuple[Rule, ...]:
    return (
        _rule(presidio.AuTfnRecognizer(), _DIGITS_9, beside=_VALID, words="tfn|tax file"),
        _rule(presidio.AuMedicareRecognizer(), _DIGITS_9, beside=_VALID, words="medicare"),
        _rule(presidio.InAadhaarRecognizer(), _DIGITS_12, beside=_VALID, words="aadhaar|aadhar|uidai|uid\\b"),
        _rule(presidio.InPanRecognizer(), r"[A-Z]{5}\d{4}[A-Z]", alone=0.5),
        _rule(presidio.InPassportRecognizer(), r"[A-Z]\d", beside=0.1, words="passport"),
        _rule(presidio.SgFinRecognizer(), r"[A-Za-z]\d{7}[A-Za-z]", alone=0.5),
        _rule(presidio.KrRrnRecognizer(), r"\d{6}-?\d{7}", alone=_VALID),
        _rule(presidio.ThTninRecognizer(), r"\d{13}", beside=_VALID, words="thai|tnin|เลข"),
        _rule(presidio.NgNinRecognizer(), r"\d{11}", beside=_VALID, words="nin\\b|nimc|national id"),
    )
