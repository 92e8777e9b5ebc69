"""The journal of `tokenledger send`: one line per acknowledged record, exactly as the log holds it.

Pricing a journal gives what the stream gives for the same records. Beside it lies what the run was asked to do, so that
it can be taken up where it stopped and never mixes with another run.
"""

import base64
import os
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from tokenledger.readers.objects import Journalled

_encode: Final = msgspec.json.Encoder().encode


class RunFacts(msgspec.Struct, frozen=True):
    """What decides every byte of a run."""

    files: list[str]
    """FILES, expanded."""
    sizes_bytes: list[int]
    """Their sizes: a file that grew would shift every number after it."""
    settings: dict[str, str | int | float | bool | None]
    """Options that change what is sent."""
    now_us: int | None
    """The instant that event times were moved to."""
    epoch: str = ""
    """The epoch its records are numbered in."""


class _Line(msgspec.Struct):
    n: int | None = None


class Journal:
    """An open journal, and the numbers of the records it already holds."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("ab")
        self.acknowledged = _numbers(path)

    @classmethod
    def open(cls, path: Path, facts: RunFacts) -> tuple[Self, RunFacts]:
        """A new journal or the one a stopped run left, and the facts that hold. ValueError for another run's."""
        beside = path.with_name(path.name + ".run.json")
        if not path.exists() or not path.stat().st_size:
            beside.write_bytes(_encode(facts) + b"\n")
            return cls(path), facts
        if not beside.exists():
            message = f"--journal {path}: is there, but {beside.name} is not; name a new file or remove this one"
            raise ValueError(message)
        held = msgspec.json.decode(beside.read_bytes(), type=RunFacts)
        if (held.files, held.sizes_bytes, held.settings) != (facts.files, facts.sizes_bytes, facts.settings):
            message = f"--journal {path}: belongs to a run with other files or options ({beside.name}); name a new file"
            raise ValueError(message)
        _drop_cut_line(path)
        return cls(path), held

    def write(self, record: Journalled) -> None:
        """One acknowledged record."""
        self._file.write(_encode(record) + b"\n")

    def close(self) -> None:
        """All lines are on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _numbers(path: Path) -> set[int]:
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as lines:
        return {number for line in lines if (number := decode(line).n) is not None}


def _drop_cut_line(path: Path) -> None:
    """A killed process may leave half a line; its record is sent again and counts once."""
    with path.open("rb+") as file:
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def text_or_base64(value: bytes | None) -> dict[str, str]:
    """A value as JSON can hold it."""
    if value is None:
        return {}
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}
