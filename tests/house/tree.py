"""Every file that is tracked, every Python file parsed once, and what the rules ask of a syntax tree."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

EDGES = ("tokenledger/cli.py", "tokenledger/commands/", "tokenledger/readers/", "tokenledger/samples")
"""The parts of the library that may read files, clocks and the environment."""


class Source:
    """One tracked Python file, parsed once."""

    def __init__(self, path: str, text: str | None = None) -> None:
        self.path = path
        self.text = (ROOT / path).read_text() if text is None else text
        self.tree = ast.parse(self.text, path)
        self.nodes = list(ast.walk(self.tree))

    def at(self, node: ast.AST, what: str) -> str:
        """A violation as an editor can jump to it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


@cache
def tracked() -> tuple[str, ...]:
    """Files that are tracked or about to be."""
    git = shutil.which("git")
    assert git, "the rules are held over what git tracks; install git"
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return tuple(path for path in sorted(set(listed)) if (ROOT / path).is_file())


@cache
def sources() -> tuple[Source, ...]:
    return tuple(Source(path) for path in tracked() if path.endswith(".py"))


def product() -> Iterator[Source]:
    return (source for source in sources() if not source.path.startswith("tests/"))


def pure() -> Iterator[Source]:
    return (
        source for source in sources() if source.path.startswith("tokenledger/") and not source.path.startswith(EDGES)
    )


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported module by its full name."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node, node.module
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for such an expression, "" for any other."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = dotted(value)
            return f"{before}.{name}" if before else name
        case _:
            return ""


def text_of(path: str) -> str:
    return (ROOT / path).read_text(errors="replace")


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in source.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[list[str], list[str]]:
    """(positional, keyword-only) without self and cls."""
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    if positional and positional[0] in {"self", "cls"}:
        del positional[0]
    return positional, [argument.arg for argument in node.args.kwonlyargs]


def catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind) in {"Exception", "BaseException"} for kind in caught)
