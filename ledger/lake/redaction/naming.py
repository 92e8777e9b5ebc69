"""Recognisers by name: `package.module:factory`, as configuration names them."""

from importlib import import_module

from ledger.lake.redaction.finding import Recogniser


def recogniser(name: str) -> Recogniser:
    """What the named factory makes. Raises ValueError that says what would be right."""
    module, _, factory = name.partition(":")
    try:
        made: Recogniser = getattr(import_module(module), factory)()
    except (ImportError, AttributeError, ValueError) as error:
        message = f"recogniser {name!r}: {error}; `package.module:factory` would be right"
        raise ValueError(message) from None
    return made
