"""Google's JSON form of protocol buffers, where it differs from plain JSON.

64-bit integers may be strings, enums may be numbers, and field names may be snake_case (protobuf.dev, ProtoJSON).
"""

from typing import Any, Final

from tokenledger.normalise.reading import MAX_COUNT, Body, count

_INT64_DIGITS: Final = 19


def whole(holder: Body, name: str, path: str) -> int | None:
    """The count under `name`, as a number or as decimal digits. Raises BadRecordError for what is no count."""
    value = holder.get(name)
    if value is None:
        return None
    if value.__class__ is int and 0 <= value <= MAX_COUNT:
        return value
    if value.__class__ is str and value.isascii() and value.isdigit() and len(value) <= _INT64_DIGITS:
        return count({name: int(value)}, name, path)
    return count(holder, name, path)


def enum_name(value: Any, names: tuple[str, ...]) -> str | None:
    """An enum's member by name or number; the number itself, as text, where it is not one we know."""
    if value.__class__ is str:
        return value or None
    if value.__class__ is int:
        return names[value] if 0 <= value < len(names) else str(value)
    return None


def camel(value: Any) -> Any:
    """The same with its field names in camelCase."""
    if isinstance(value, dict):
        return {_camel(name): camel(inner) for name, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
