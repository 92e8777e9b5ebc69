"""How `tokenledger router …` writes shares, and where."""

import sys
from typing import Final

from rich.console import Console

_PLAIN_WIDTH: Final = 120


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f} %"


def console() -> Console:
    """As wide as the terminal; the same width everywhere where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
