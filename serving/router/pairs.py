"""Labelled pairs from CSV files: the prompt and, per tier, how good its answer was. An edge: it reads files."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.router.features import Prompt

_LONGEST_FIELD: Final = 16 * 1024 * 1024
_NAMED: Final = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "right": 1.0, "wrong": 0.0}
_LEAST_TIERS: Final = 2


class Pair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One prompt that every tier has answered."""

    prompt: Prompt
    """The prompt."""
    qualities: tuple[float, ...]
    """Quality of each tier's answer, 0 to 1, in the order of the tiers."""
    group: str
    """Data set or subject the prompt is from; empty where none is named."""


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns of a file hold what."""

    tiers: dict[str, str]
    """Tier → column of its quality, the strongest tier last."""
    prompt: str = "prompt"
    """Column of the prompt."""
    group: str | None = None
    """Column of the group; without it, the file's name."""


def read(paths: Sequence[Path], columns: Columns) -> list[Pair]:
    """Every pair of every file; folders are searched for *.csv. A prompt that comes twice counts once."""
    if len(columns.tiers) < _LEAST_TIERS:
        raise ValueError("name at least two tiers: --tier NAME=COLUMN, the strongest last")
    seen: dict[str, Pair] = {}
    for path in paths:
        for file in sorted(path.rglob("*.csv")) if path.is_dir() else [path]:
            for pair in _file(file, columns):
                seen.setdefault(pair.prompt.text, pair)
    if not seen:
        raise ValueError(f"no labelled pair in {', '.join(map(str, paths))}")
    return list(seen.values())


def _file(path: Path, columns: Columns) -> Iterator[Pair]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        wanted = {columns.prompt, *columns.tiers.values(), *([columns.group] if columns.group else [])}
        if missing := sorted(wanted - set(rows.fieldnames or ())):
            found = ", ".join(rows.fieldnames or ()) or "none"
            raise ValueError(
                f"{path}: no column {missing[0]!r}; columns are: {found}; map them with --tier and --prompt"
            )
        for row in rows:
            yield _pair(row, columns, where=f"{path}:{rows.line_num}")


def _pair(row: Mapping[str, str | None], columns: Columns, *, where: str) -> Pair:
    return Pair(
        prompt=Prompt(
            text=row[columns.prompt] or "",
            tools=_count(row, "tools", where=where),
            turns=_count(row, "turns", where=where) or 1,
            format=row.get("format") or "",
        ),
        qualities=tuple(_quality(row[column], where=f"{where}: {column}") for column in columns.tiers.values()),
        group=(row[columns.group] or "") if columns.group else Path(where.rpartition(":")[0]).stem,
    )


def _quality(text: str | None, *, where: str) -> float:
    value = _NAMED.get((text or "").strip().lower())
    try:
        value = float(text or "") if value is None else value
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{where} is {text!r}; a quality is a number from 0 to 1, or true or false")
    return value


def _count(row: Mapping[str, str | None], column: str, *, where: str) -> int:
    text = row.get(column) or "0"
    if not text.isdecimal():
        raise ValueError(f"{where}: {column} is {text!r}; it is a whole number")
    return int(text)


def left_out(path: Path) -> frozenset[str]:
    """Prompts that are not to be judged by, such as those a model is known to have been trained on: JSON Lines."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return frozenset(str(line.get("eval_prompt") or line.get("prompt")) for line in found)


def qualities(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Prompt × tier."""
    return np.array([pair.qualities for pair in pairs])
