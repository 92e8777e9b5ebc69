"""The dispatch table: which dialect reads a reply. Adding a provider is one line here."""

from typing import Final

from tokenledger.normalise import openai_chat
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange

OF_PROVIDER: Final[dict[str, tuple[Dialect, ...]]] = {}
"""Dialects only one provider speaks, tried first: provider → dialects."""

SHAPES: Final[tuple[Dialect, ...]] = (openai_chat.CHAT,)
"""Shapes that are known by themselves, the most telling first; any provider may speak them."""


def dialect_of_body(body: Body, exchange: Exchange) -> Dialect | None:
    """The first dialect of the provider, else of all, whose shape the reply has."""
    for dialect in OF_PROVIDER.get(exchange.provider, ()):
        if dialect.fits(body, exchange):
            return dialect
    for dialect in SHAPES:
        if dialect.fits(body, exchange):
            return dialect
    return None


def dialect_of_stream(events: list[Event], exchange: Exchange) -> Dialect | None:
    """The dialect of the first event that has a known shape."""
    for event in events:
        if event.data.__class__ is dict and (found := dialect_of_body(event.data, exchange)):
            return found
    return None
