"""Recognisers beside Presidio's own: numbers with a check digit it does not know, telephone numbers, dates of birth."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise
from typing import Final

from presidio_analyzer import Pattern, PatternRecognizer

_NOT_DIGITS: Final = re.compile(r"\D")


def digits_of(text: str) -> list[int]:
    """Its digits."""
    return [int(digit) for digit in _NOT_DIGITS.sub("", text)]


def weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    """Σ digit × weight."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


class _Numbered(PatternRecognizer):
    """Found by one of several patterns, all of which need something more to be believed."""

    def __init__(self, entity: str, regexes: Sequence[str]) -> None:
        named = [Pattern(name=f"{entity}_{n}", regex=regex, score=0.3) for n, regex in enumerate(regexes)]
        super().__init__(supported_entity=entity, patterns=named)


class GermanTaxIdRecognizer(_Numbered):
    """Steuerliche Identifikationsnummer: ISO 7064 MOD 11,10, and one digit repeats among the first ten."""

    def __init__(self) -> None:
        super().__init__("DE_TAX_ID", [r"(?<!\d)[1-9]\d[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}(?!\d)"])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the check digit is right."""
        digits = digits_of(pattern_text)
        product = 10
        for digit in digits[:10]:
            total = (digit + product) % 10 or 10
            product = total * 2 % 11
        return (11 - product) % 10 == digits[10] and len(set(digits[:10])) < 10  # noqa: PLR2004


class FrenchNirRecognizer(_Numbered):
    """Numéro de sécurité sociale: key = 97 − number mod 97; Corsica's 2A and 2B count as 19 and 18."""

    def __init__(self) -> None:
        sex_year_month = r"(?<!\d)[12][ .]?\d{2}[ .]?(?:0[1-9]|1[0-2]|[2-9]\d)[ .]?"
        place_order_key = r"(?:\d{2}|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d{2}(?!\d)"
        super().__init__("FR_NIR", [sex_year_month + place_order_key])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the key is right."""
        text = re.sub(r"[ .]", "", pattern_text.upper()).replace("2A", "19").replace("2B", "18")
        return 97 - int(text[:-2]) % 97 == int(text[-2:])


class BrazilianCpfRecognizer(_Numbered):
    """Cadastro de pessoas físicas: two check digits modulo 11."""

    def __init__(self, *, formatted: bool = False) -> None:
        super().__init__("BR_CPF", [r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)" if formatted else r"(?<!\d)\d{11}(?!\d)"])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether both check digits are right."""
        digits = digits_of(pattern_text)
        first = weighted(digits[:9], range(10, 1, -1)) * 10 % 11 % 10
        second = weighted(digits[:10], range(11, 1, -1)) * 10 % 11 % 10
        return [first, second] == digits[9:] and any(one != other for one, other in pairwise(digits))


class PolishPeselRecognizer(_Numbered):
    """PESEL: a date with the century in its month, and a check digit, which Presidio 2.2 takes for its complement."""

    def __init__(self) -> None:
        pattern = r"(?<!\d)\d{2}(?:[02468][1-9]|[13579][0-2])(?:0[1-9]|[12]\d|3[01])\d{5}(?!\d)"
        super().__init__("PL_PESEL", [pattern])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the check digit is right."""
        digits = digits_of(pattern_text)
        return (weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) + digits[10]) % 10 == 0


class DutchBsnRecognizer(_Numbered):
    """Burgerservicenummer: the eleven test."""

    def __init__(self) -> None:
        super().__init__("NL_BSN", [r"(?<!\d)\d{4}[. ]?\d{2}[. ]?\d{3}(?!\d)"])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether it passes."""
        return weighted(digits_of(pattern_text), (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


class CanadianSinRecognizer(_Numbered):
    """Social insurance number: Luhn."""

    def __init__(self) -> None:
        super().__init__("CA_SIN", [r"(?<!\d)\d{3}[- ]?\d{3}[- ]?\d{3}(?!\d)"])

    def validate_result(self, pattern_text: str) -> bool:
        """Whether it passes."""
        doubled = [digit * 2 if n % 2 else digit for n, digit in enumerate(digits_of(pattern_text))]
        return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0  # noqa: PLR2004


class IpAddressRecognizer(PatternRecognizer):
    """Addresses of both versions, whole: Presidio's pattern stops at the first `::`."""

    def __init__(self) -> None:
        fourth = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
        sixth = r"(?<![\w:.])(?:[\da-fA-F]{0,4}:){2,7}(?:[\da-fA-F]{1,4}|(?:\d{1,3}\.){3}\d{1,3})(?![\w:])"
        named = [Pattern(name="4", regex=fourth, score=0.6), Pattern(name="6", regex=sixth, score=0.6)]
        super().__init__(supported_entity="IP_ADDRESS", patterns=named)

    def invalidate_result(self, pattern_text: str) -> bool:
        """Whether it is none, or one that is everybody's."""
        try:
            address = ip_address(pattern_text)
        except ValueError:
            return True
        return address.is_loopback or address.is_unspecified or pattern_text == "255.255.255.255"


class PhoneNumberRecognizer(PatternRecognizer):
    """Telephone numbers by their writing: Presidio's own takes most of the time of all of them together."""

    def __init__(self) -> None:
        # International; North American; national with a leading zero. The last needs words beside it.
        international = r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}[ ./-]?(?:\(0?\d{1,4}\)[ ./-]?)?\d(?:[ ./-]?\d){5,12}(?!\w)"
        american = r"(?<![\w.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-. ]\d{4}(?![\w-]|\.\d)"
        national = r"(?<![\w.-])\(?0\d{1,5}\)?[ ./-]?\d(?:[ ./-]?\d){4,9}(?![\w]|[.-]\d)"
        loose = r"(?<![\w.-])\d{2,4}(?:[ .-]?\d{2,4}){2,3}(?![\w]|[.-]\d)"
        super().__init__(
            supported_entity="PHONE_NUMBER",
            patterns=[
                Pattern(name="international", regex=international, score=0.6),
                Pattern(name="american", regex=american, score=0.55),
                Pattern(name="national", regex=national, score=0.25),
                Pattern(name="loose", regex=loose, score=0.2),
            ],
        )


class BirthDateRecognizer(_Numbered):
    """A date beside a word that says someone was born on it."""

    def __init__(self) -> None:
        numeric = (
            r"(?<![\d./-])(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}|(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2})(?![\d])"
        )
        spelled = (
            r"(?i)(?<!\w)(?:\d{1,2}(?:st|nd|rd|th|\.)? (?:of )?)?"
            r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
            r"\.? (?:\d{1,2}(?:st|nd|rd|th)?,? )?(?:19|20)\d{2}(?!\w)"
        )
        super().__init__("DATE_OF_BIRTH", [numeric, spelled])
