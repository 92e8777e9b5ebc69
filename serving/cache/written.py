"""Answers that somebody wrote: one TOML file a tenant, checked as a whole, found by a question's own words. Pure.

[[answers]]
id = "opening-hours"
routes = ["chat"]
questions = ["When are you open?", "What are your opening hours?"]
answer = "Monday to Friday, 9 to 17 h."
"""

import tomllib
import unicodedata
from typing import Annotated, Final

import msgspec

_ENDS: Final = " \t\n.?!¿¡\u2026"


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One written answer."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:/-]+$")]
    """Its id, for the log."""
    questions: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1_000)]
    """Every way of asking that gets it."""
    answer: Annotated[str, msgspec.Meta(min_length=1, max_length=32_768)]
    """What is said."""
    routes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Routes it is said on."""
    apps: tuple[str, ...] = ()
    """Apps it is said in, as `project/feature`, a `/` or `%` of the project as `%2F` or `%25`; without them, in all."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answers: tuple[Answer, ...] = ()


Book = dict[tuple[str, str, str], Answer]
"""Route, app or empty for any, question in its normal form → the answer."""


class BadAnswersError(ValueError):
    """What is wrong with a file of written answers."""


def normal(question: str) -> str:
    """A question without case, double blanks and the marks at its ends."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split()).strip(_ENDS)


def book_of(text: str) -> Book:
    """The answers of a file. Raises BadAnswersError."""
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadAnswersError(str(error)) from None
    book: Book = {}
    for answer in found.answers:
        for key in _keys(answer):
            if book.setdefault(key, answer) is not answer:
                raise BadAnswersError(f"answers {book[key].id!r} and {answer.id!r} both answer {key[2]!r}")
    return book


def _keys(answer: Answer) -> list[tuple[str, str, str]]:
    asked = [normal(question) for question in answer.questions]
    if not all(asked):
        raise BadAnswersError(f"answer {answer.id!r} has an empty question; write what a caller would ask")
    return [(route, app, question) for route in answer.routes for app in answer.apps or ("",) for question in asked]


def found_in(book: Book, question: str, *, route: str, app: str) -> Answer | None:
    """The answer to a question on a route and in an app."""
    asked = normal(question)
    return book.get((route, app, asked)) or book.get((route, "", asked))
