"""What the simulator served, a JSON line a request: the truth that ledgers and clients are held against."""

import os
from pathlib import Path
from typing import Any

import msgspec


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One request, written when it ends, however it ends."""

    id: str
    """Id of the answer."""
    tier: str
    """Tier that took it."""
    model: str = ""
    """Model that was asked for."""
    user: str | None = None
    """The request's `user`."""
    request_id: str | None = None
    """The request's `x-request-id`."""
    stream: bool = False
    """Whether a stream was asked for."""
    http_status: int | None = None
    """Status sent; None if none was."""
    outcome: str = "disconnected"
    """`complete`, the name of the failure, `refused`, or `disconnected` where the caller left first."""
    arrived_at_us: int = 0
    """When the request was read, µs UTC."""
    ended_at_us: int = 0
    """When its answer ended."""
    usage: dict[str, Any] | None = None
    """Usage that was sent; None if none was."""
    prompt_tokens: int = 0
    """The truth, whatever was sent."""
    completion_tokens: int = 0
    """Tokens of the whole answer, sent or not."""
    pieces_sent: int = 0
    """Content chunks of a stream that were sent."""
    correct: bool | None = None
    """Whether the first choice is right; None where nobody knows."""


class Journal:
    """Lines appended to a file, or nowhere."""

    def __init__(self, path: str | None) -> None:
        self._file = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: Entry) -> None:
        """One line in one write, so that a reader never sees half of it."""
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """No more lines."""
        if self._file is not None:
            os.close(self._file)


def read_journal(path: Path) -> list[Entry]:
    """Every entry so far."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]
