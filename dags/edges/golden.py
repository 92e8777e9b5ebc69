"""Sets that grow by review only: golden questions, regressions. What is in stays as it is; a review adds at the end.

Each version's file begins with the bytes of the one before. Who reviewed what stands in reviews.jsonl. An edge.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from dags.core import words
from dags.core.manifest import INDEX, REVIEWS, Growth, Manifest, grown_version
from dags.edges import versions
from dags.edges.erasures import erased
from dags.edges.workshop import workshop

FILE: Final = "golden.jsonl"
_LINE: Final = msgspec.json.Encoder(order="deterministic")


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Who let which rows in, and why."""

    by: str
    """The reviewer."""
    why: str
    """For what reason."""
    rows: tuple[str, ...]
    """Ids of rows of the version they come from."""
    source: str
    """That version, `name@version`."""
    reference: dict[str, Any] | None = None
    """The right answer, as an assistant's message, where the reviewer wrote one for the one row."""


class GoldenError(ValueError):
    """Why a review adds nothing."""


def add(datasets: Path, name: str, *, review: Review) -> tuple[Manifest, bool]:
    """(the set with these rows at its end, whether it is new). Rows that are in already are not added again."""
    source = versions.load(datasets, review.source)
    before = _before(datasets, name)
    with workshop(datasets) as own:
        made = own / "made"
        made.mkdir()
        lines = {file: _copied(datasets, before, made=made, file=file) for file in (FILE, INDEX, REVIEWS)}
        there = _there(made)
        added = _append(datasets, source, review=review, made=made, there=there)
        if not added and before is not None:
            return before, False
        if not added:
            raise GoldenError(f"{review.source}: none of its rows that were named may be used, so {name} has nothing")
        with (made / REVIEWS).open("ab") as file:
            file.write(_LINE.encode(review) + b"\n")
        rows = lines[FILE] + added
        counted = {FILE: rows, INDEX: rows, REVIEWS: lines[REVIEWS] + 1}
        files = tuple(versions.facts(made / file, rows=count) for file, count in sorted(counted.items()))
        parent = before.version if before else ""
        manifest = Manifest(
            name=name,
            version=grown_version(parent, "review", files=files),
            kind="golden",
            recipe=None,
            source=None,
            growth=Growth(parent=parent, why="review", rows=added),
            counts={f"rows written: {FILE}": rows, f"rows written: {REVIEWS}": lines[REVIEWS] + 1},
            files=files,
        )
        return manifest, versions.publish(datasets, made, manifest=manifest)


def _before(datasets: Path, name: str) -> Manifest | None:
    if not versions.versions(datasets, name):
        return None
    found = versions.load(datasets, name)
    if found.kind != "golden":
        raise GoldenError(f"{name} is of kind {found.kind}; a golden set needs a name of its own")
    return found


def _copied(datasets: Path, before: Manifest | None, *, made: Path, file: str) -> int:
    """Copies a file of the version before; how many lines it has."""
    data = b"" if before is None else (versions.folder(datasets, before) / file).read_bytes()
    (made / file).write_bytes(data)
    return data.count(b"\n")


def _there(made: Path) -> set[str]:
    """Prompts that are in, by hash."""
    return {_prompt_hash(msgspec.json.decode(line)) for line in (made / FILE).read_bytes().splitlines()}


def _prompt_hash(row: dict[str, Any]) -> str:
    return hashlib.sha256(words.normal(words.prompt(row["messages"])).encode(errors="replace")).hexdigest()


def _append(datasets: Path, source: Manifest, *, review: Review, made: Path, there: set[str]) -> int:
    """Appends the reviewed rows that are not there yet; how many."""
    wanted, gone = set(review.rows), erased(datasets)
    about = {row["row_id"]: row for row in versions.index(datasets, source) if row["row_id"] in wanted}
    if missing := sorted(wanted - about.keys()):
        raise GoldenError(f"{source.id} has no row {missing[0]!r}; its index.jsonl names them")
    added = len((made / FILE).read_bytes().splitlines())
    first = added
    with (made / FILE).open("ab") as file, (made / INDEX).open("ab") as index:
        for row in sorted(about.values(), key=lambda row: row["row_id"]):
            line = _row(versions.folder(datasets, source), row, review=review)
            if _prompt_hash(line) in there or (row["tenant_id"], row.get("user_hash")) in gone:
                continue
            there.add(_prompt_hash(line))
            added += 1
            file.write(_LINE.encode(line) + b"\n")
            index.write(_LINE.encode(row | {"file": FILE, "row": added}) + b"\n")
    return added - first


def _row(folder: Path, row: dict[str, Any], *, review: Review) -> dict[str, Any]:
    """The row as it stands in its version; of a chat, the answer becomes the reference."""
    with (folder / row["file"]).open("rb") as file:
        line: dict[str, Any] = msgspec.json.decode(_nth(file, row["row"]))
    if "messages" not in line:
        raise GoldenError(f"{row['row_id']} is no question; take rows of an evaluation set or of chats")
    if "reference" not in line and line["messages"][-1].get("role") == "assistant":
        *asked, answer = line["messages"]
        line = line | {"messages": asked, "reference": answer}
    line |= {"id": row["row_id"], "reviewed_by": review.by}
    return line | ({"reference": review.reference} if review.reference is not None else {})


def _nth(lines: Any, number: int) -> bytes:
    for at, line in enumerate(lines, 1):
        if at == number:
            return bytes(line)
    raise GoldenError(f"row {number} is not in its file; tokenledger datasets verify says what is damaged")
