"""FILES on the command line → files to open: folders are walked in sorted order, patterns expanded, `-` is stdin."""

import gzip
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Final, cast

from tokenledger.readers.found import Origin, Unreadable, UnreadableError

STDIN: Final = "-"
_CHUNK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SPOOL_BYTES: Final = 64 << 20
_MAX_GZIP_LAYERS: Final = 2


class Source:
    """One file to read: its bytes unpacked, how many bytes it has on disk, and what its records share."""

    def __init__(self, name: str, opened: IO[bytes], *, size_bytes: int, modified_at_us: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.modified_at_us = modified_at_us
        self._file = opened

    def origin(self, *, tenant_id: str, provider: str | None, redact: bool) -> Origin:
        """What the records of this file share."""
        return Origin(
            source_file=self.name,
            modified_at_us=self.modified_at_us,
            tenant_id=tenant_id.encode(),
            provider=provider,
            redact=redact,
            file_hash=cache(self._hash),
        )

    def unpacked(self) -> IO[bytes]:
        """The content from its beginning, gzip layers taken off."""
        self._file.seek(0)
        content: IO[bytes] = self._file
        for _ in range(_MAX_GZIP_LAYERS):
            magic = content.read(2)
            content.seek(0)
            if magic != _GZIP_MAGIC:
                break
            content = cast("IO[bytes]", gzip.GzipFile(fileobj=content, mode="rb"))
        return content

    def position_bytes(self) -> int:
        """How far the file on disk has been read."""
        return self._file.tell()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _hash(self) -> str:
        """Of the bytes as they lie on disk, so that a record's id does not depend on how it was unpacked."""
        position = self._file.tell()
        self._file.seek(0)
        digest = hashlib.sha256()
        while chunk := self._file.read(_CHUNK_BYTES):
            digest.update(chunk)
        self._file.seek(position)
        return digest.hexdigest()[:16]


def open_source(name: str) -> Source:
    """The file opened. Raises UnreadableError with the system's reason."""
    if name == STDIN:
        return _spooled_stdin()
    try:
        opened = Path(name).open("rb")  # noqa: SIM115 - closed by Source.close
        status = Path(name).stat()
    except FileNotFoundError:
        raise UnreadableError("not_found", "no such file, folder or pattern") from None
    except PermissionError:
        raise UnreadableError("not_permitted", "the file may not be read by this user") from None
    except OSError as error:
        raise UnreadableError("not_readable", error.strerror or str(error)) from None
    return Source(name, opened, size_bytes=status.st_size, modified_at_us=status.st_mtime_ns // 1000)


def _spooled_stdin() -> Source:
    """Stdin is kept until its end, because ids are minted from the hash of the whole."""
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - closed by Source.close
    size_bytes = 0
    while chunk := sys.stdin.buffer.read(_CHUNK_BYTES):
        spool.write(chunk)
        size_bytes += len(chunk)
    return Source(STDIN, spool, size_bytes=size_bytes, modified_at_us=time.time_ns() // 1000)


def expand(names: Iterable[str], on_problem: Callable[[Unreadable], None]) -> list[str]:
    """Paths of files in the order given, each once; what names nothing is reported."""
    expanded: dict[str, None] = {}
    for name in names:
        before = len(expanded)
        expanded |= dict.fromkeys(_files_of(name))
        if len(expanded) == before and not any(_files_of(name)):
            on_problem(Unreadable(name, *_why_nothing(name)))
    return list(expanded)


def _files_of(name: str) -> Iterator[str]:
    if name == STDIN:
        yield name
        return
    path = Path(name)
    if path.is_dir():
        yield from (str(file) for file in sorted(path.rglob("*")) if _is_listed(file.relative_to(path), file))
    elif path.exists():
        yield name
    elif has_magic(name):
        for match in sorted(glob(name, recursive=True)):  # noqa: PTH207 - a pattern may be absolute
            yield from _files_of(match)


def _is_listed(inside: Path, file: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in inside.parts)


def _why_nothing(name: str) -> tuple[str, str]:
    if Path(name).is_dir():
        return "empty", "the folder holds no files"
    if has_magic(name):
        return "not_found", "no file matches the pattern"
    return "not_found", "no such file or folder"
