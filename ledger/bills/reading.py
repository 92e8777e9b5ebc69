"""Report files → their lines. The format is told by the content."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.bills import anthropic, focus, mapped, openai
from ledger.bills.lines import BillError, BillLine
from ledger.bills.mapped import Mapping

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def read(paths: Sequence[Path], mapping: Mapping | None = None) -> list[BillLine]:
    """All lines of all files. Raises BillError for what cannot be read; a bill is compared whole or not at all."""
    found = [line for path in paths for line in _file(path, mapping)]
    if not found:
        raise BillError(f"{', '.join(map(str, paths))}: no line in it")
    return found


def _file(path: Path, mapping: Mapping | None) -> Iterator[BillLine]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillError(f"{path}: byte {error.start} is not UTF-8") from None
    if text.lstrip()[:1] in {"{", "["}:
        for document in _documents(text, path):
            yield from _page(document, str(path))
    elif mapping is not None:
        yield from mapped.lines(text, mapping, where=str(path))
    elif focus.is_table(text.partition("\n")[0]):
        yield from focus.lines(text, str(path))
    else:
        raise BillError(f"{path}: neither a FOCUS table nor JSON; for another CSV give --mapping FILE")


def _documents(text: str, path: Path) -> list[Any]:
    """One page, a list of pages, or a page a line."""
    try:
        document = _decode(text)
    except msgspec.DecodeError as error:
        try:
            return [_decode(line) for line in text.splitlines() if line.strip()]
        except msgspec.DecodeError:
            raise BillError(f"{path}: {error}") from None
    return document if isinstance(document, list) else [document]


def _page(document: Any, where: str) -> Iterator[BillLine]:
    if openai.is_page(document):
        yield from openai.lines(document, where)
    elif anthropic.is_page(document):
        yield from anthropic.lines(document, where)
    else:
        raise BillError(f"{where}: JSON, but no page of OpenAI's usage or costs nor of Anthropic's reports")
