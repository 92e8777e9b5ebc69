"""Writer's text completions, which stream bare pieces of text and report no usage. Its chat is OpenAI-shaped."""

from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading


def fits(body: Body, exchange: Exchange) -> bool:
    """A piece of text and nothing else, from Writer."""
    return exchange.provider == "writer" and body.keys() <= {"value"}


def read(_body: Body, _exchange: Exchange) -> Reading:
    """A Reading without usage: none is reported."""
    return Reading(usage_reading="writer.completions", api="completions")


def fold(_events: list[Event]) -> tuple[Body, bool]:
    """The format has no terminal event, so a stream that was read is taken as whole."""
    return {}, True


COMPLETIONS = Dialect("writer.completions", fits, read, fold)
