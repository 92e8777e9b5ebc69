"""What was published stays readable: pinned copies of every published schema, and what a newer one may change."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PINS: Final = "SHA256SUMS"


def publish(generated: dict[str, str], folder: Path) -> None:
    """Write the schemas as published, with their digests. Raises ValueError where others were published there."""
    if folder.exists():
        message = f"{folder.name} is published already; raise the version in pyproject.toml, then publish"
        raise ValueError(message)
    folder.mkdir(parents=True)
    for name, text in generated.items():
        (folder / name).write_text(text)
    (folder / PINS).write_text("".join(f"{_sha256(text)}  {name}\n" for name, text in sorted(generated.items())))


def altered(folder: Path) -> list[str]:
    """Files of a published version that are not what was published."""
    pins = {line[66:]: line[:64] for line in (folder / PINS).read_text().splitlines()}
    found = {file.name: _sha256(file.read_text()) for file in folder.iterdir() if file.name != PINS}
    return sorted(name for name in pins.keys() | found.keys() if pins.get(name) != found.get(name))


def breaks(published: str, current: str) -> list[str]:
    """Why records of the published schema, or readers of it, would no longer get along with the current one."""
    old, new = json.loads(published), json.loads(current)
    old_parts = {"": old, **old.get("$defs", {})}
    new_parts = {"": new, **new.get("$defs", {})}
    return [
        f"{old['title']}{'.' if name else ''}{name}: {what}"
        for name, part in old_parts.items()
        for what in (_part_breaks(part, new_parts[name]) if name in new_parts else ["is gone"])
    ]


def _part_breaks(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{name} is required now"
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        yield f"{name} is no longer required, so readers may miss it"
    for name, field in old.get("properties", {}).items():
        if name not in new["properties"]:
            yield f"{name} is gone"
        elif not _fits(_bare(field), _bare(new["properties"][name])):
            yield f"{name} changed from {_bare(field)} to {_bare(new['properties'][name])}"


def _fits(old: dict[str, Any], new: dict[str, Any]) -> bool:
    if "enum" in old and "enum" in new:  # a closed list may grow
        return set(old["enum"]) <= set(new["enum"]) and _without(old, "enum") == _without(new, "enum")
    return old == new


def _bare(field: dict[str, Any]) -> dict[str, Any]:
    """The type alone: words may get better."""
    return _without(field, "description", "x-unit")


def _without(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in schema.items() if name not in names}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
