"""Texts of calls whose tenants allow it, on their way to `llm.raw.v1`: beside the outbox, for the shipper to add.

They are no part of the accounts. What cannot be kept (too long, no room, a disk that fails) is counted and left out,
and the call is told without. A tenant that does not allow it is one look into a set away from all this.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from ledger.lake.consent import Consent, ConsentFile
from ledger.observing import logger
from serving.gateway.account_metrics import CAPTURED
from serving.gateway.configuration import Capture
from serving.gateway.defects import survived
from serving.gateway.folding import folded
from serving.gateway.records import TextsAt
from serving.gateway.requests import Members

log = logger("serving.gateway.capturing")

SUFFIX: Final = ".texts"
FILE_BYTES: Final = 4 * 1024 * 1024
"""A file of texts is full at so much, and gone when all in it is shipped."""
_OF_REQUEST: Final = ("messages", "tools", "functions")


class _Choice(msgspec.Struct, omit_defaults=True, gc=False):
    """One choice without its log-probabilities."""

    index: int = 0
    finish_reason: str | None = None
    message: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct, gc=False):
    choices: list[_Choice] = []


class Texts(msgspec.Struct, gc=False):
    """What was asked and answered, as it lies beside the outbox."""

    request: dict[str, msgspec.Raw]
    """`messages` and tools, as the caller sent them."""
    choices: list[_Choice]
    """As the model answered, without log-probabilities."""


_said: Final = msgspec.json.Decoder(_Said)
_texts: Final = msgspec.json.Decoder(Texts)
_encode: Final = msgspec.json.Encoder().encode
_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _File(NamedTuple):
    number: int
    fd: int


class Capturing:
    """The texts of one gateway process. Used on its event loop; a file takes them at once, so a kill loses none."""

    def __init__(self, folder: Path, settings: Capture) -> None:
        self._folder = folder
        self._consent_file = ConsentFile(None)
        self._consent = Consent()
        self._is_right = True
        self._file: _File | None = None
        self._at = 0
        self._next_number = 0
        self.allowed: frozenset[str] = frozenset()
        """Tenants whose texts are kept."""
        self.adopt(settings)

    def adopt(self, settings: Capture) -> None:
        """From now on by these settings."""
        self._settings = settings
        self._consent_file = ConsentFile(Path(settings.consent_file))
        self.look()

    def look(self) -> None:
        """See who allows it now; nobody does while the file is wrong."""
        try:
            consent = self._consent_file.now()
        except (ValueError, OSError) as error:
            if self._is_right:
                log.warning("nobody's texts are kept until this is mended", extra={"facts": {"error": str(error)}})
            self._is_right = False
            self.allowed, self._consent = frozenset(), Consent()
            return
        self._is_right = True
        if consent is not self._consent:
            self._consent = consent
            self.allowed = frozenset(name for name in consent.tenants if consent.allows(name))

    def keep(self, members: Members, reply: bytes) -> TextsAt | None:
        """Lay down what was asked and answered; where it lies, None where it was not kept."""
        request: Members = {name: members[name] for name in _OF_REQUEST if name in members}
        size_bytes = sum(map(len, map(bytes, request.values()))) + len(reply)
        if size_bytes > self._settings.most_bytes:
            CAPTURED.labels("too_large").inc()
            return None
        try:
            laid = _encode(Texts(request, _said.decode(reply).choices))
        except _WRONG:
            CAPTURED.labels("unreadable").inc()
            return None
        try:
            return self._laid(laid)
        except OSError as error:
            log.warning("texts were not kept", extra={"facts": {"error": str(error)}})
            CAPTURED.labels("failed").inc()
            return None

    def _laid(self, laid: bytes) -> TextsAt | None:
        if self._file is None or self._at + len(laid) > FILE_BYTES:
            self._begin_file()
        if self._file is None:
            CAPTURED.labels("no_room").inc()
            return None
        at = TextsAt(file=self._file.number, at=self._at, size_bytes=len(laid), crc=crc32(laid))
        self._at += len(laid)
        if os.pwrite(self._file.fd, laid, at.at) != len(laid):
            raise OSError(f"{path_of(self._folder, at.file)}: cut off")
        CAPTURED.labels("kept").inc()
        return at

    def _begin_file(self) -> None:
        """The next file, unless those that are not shipped take all that texts may take."""
        self.close()
        if (len(numbers(self._folder)) + 1) * FILE_BYTES > self._settings.capacity_bytes:
            return
        number, self._next_number = self._next_number, self._next_number + 1
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = _File(number, os.open(path_of(self._folder, number), flags, 0o600))
        self._at = 0

    def close(self) -> None:
        """No more is laid down in this file."""
        if self._file is not None:
            os.close(self._file.fd)
            self._file = None


class Kept:
    """One attempt whose texts are kept: what was asked, until what is answered has come."""

    __slots__ = ("_capturing", "_members", "at")

    def __init__(self, capturing: Capturing, members: Members) -> None:
        self._capturing = capturing
        self._members = members
        self.at: TextsAt | None = None
        """Where they lie."""

    def whole(self, reply: bytes) -> None:
        """A whole reply."""
        self.at = survived("texts", lambda: self._capturing.keep(self._members, reply))

    def streamed(self, raw: list[bytes] | None) -> None:
        """A stream, as it came; None for one that was too long to be held."""
        survived("texts", lambda: self._streamed(raw))

    def _streamed(self, raw: list[bytes] | None) -> None:
        reply = folded(b"".join(raw)) if raw is not None else None
        if reply is not None:
            self.whole(reply)
        else:
            CAPTURED.labels("too_large" if raw is None else "unreadable").inc()


def path_of(folder: Path, number: int) -> Path:
    """Where a file of texts lies."""
    return folder / f"{number:08d}{SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """The files of texts there are."""
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == SUFFIX)


def read(folder: Path, at: TextsAt) -> Texts | None:
    """What lies there; None where it is gone, or is not what was laid down."""
    try:
        fd = os.open(path_of(folder, at.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        laid = os.pread(fd, at.size_bytes, at.at)
    finally:
        os.close(fd)
    if len(laid) != at.size_bytes or crc32(laid) != at.crc:
        return None
    try:
        return _texts.decode(laid)
    except _WRONG:
        return None


def forget(folder: Path, *, before: int) -> None:
    """All in the files before this one is shipped."""
    for number in numbers(folder):
        if number < before:
            path_of(folder, number).unlink(missing_ok=True)
