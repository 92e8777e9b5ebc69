"""docs/gateway_configuration.md: every section and field of the configuration, from its structs.

`python -m serving.gateway.reference` writes it; a test holds it fresh.
"""

import ast
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from serving.gateway.configuration import Configuration

PAGE: Final = Path(__file__).parents[2] / "docs" / "gateway_configuration.md"
_HEAD: Final = """\
<!-- Made by `python -m serving.gateway.reference` from serving/gateway/configuration.py. Do not edit. -->
# The gateway's configuration

One TOML file, read again when it changes or on SIGHUP; a wrong one changes nothing, is logged and counted in
`tokenledger_gateway_config_reloads_total`. An unknown name is an error. What is under `listen` needs a restart.
"""


def page() -> str:
    """The page."""
    sections: list[tuple[str, type[msgspec.Struct]]] = [("", Configuration), *_sections(Configuration, "")]
    return _HEAD + "".join(_section(name, kind) for name, kind in sections)


def _sections(kind: type[msgspec.Struct], prefix: str) -> list[tuple[str, type[msgspec.Struct]]]:
    """The sections inside a section, in their order."""
    found: list[tuple[str, type[msgspec.Struct]]] = []
    for field in msgspec.structs.fields(kind):
        for inner, mark in _structs(field.type):
            name = f"{prefix}{field.name}{mark}"
            found += [(name, inner), *_sections(inner, f"{name}.")]
    return found


def _structs(hint: Any) -> list[tuple[type[msgspec.Struct], str]]:
    """The section a field holds: one, or many by name or place."""
    info = msgspec.inspect.type_info(hint)
    match info:
        case msgspec.inspect.StructType(cls=cls):
            return [(cls, "")]
        case msgspec.inspect.DictType(value_type=msgspec.inspect.StructType(cls=cls)):
            return [(cls, ".NAME")]
        case msgspec.inspect.UnionType(types=(msgspec.inspect.StructType(cls=cls), msgspec.inspect.NoneType())):
            return [(cls, "")]
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StructType(cls=cls)):
            return [(cls, "[]")]
    return []


def _section(name: str, kind: type[msgspec.Struct]) -> str:
    meanings = _meanings(kind)
    title = f"`[{name}]`" if name and not name.endswith("[]") else f"`{name}`" if name else "Top level"
    rows = "".join(
        f"| `{field.name}` | {_default(field)} | {meanings[field.name]} |\n"
        for field in msgspec.structs.fields(kind)
        if not _structs(field.type)
    )
    table = f"\n| field | default | meaning |\n| --- | --- | --- |\n{rows}" if rows else ""
    return f"\n## {title}\n\n{_one_line(inspect.getdoc(kind) or '')}\n{table}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else ()
    if value is None:
        return "none"
    shown = list(value) if isinstance(value, tuple) else value
    return f"`{msgspec.json.encode(shown).decode()}`"


def _meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Field → the sentence under it."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    return {
        field.target.id: _one_line(text.value.value).replace("|", "\\|")
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
