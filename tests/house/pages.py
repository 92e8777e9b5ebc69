"""What the pages show: fenced blocks, commands, snippets that claim to run, and the metrics the code makes."""

import ast
import re
from collections.abc import Iterator

from tests.house.tree import Source, imports, product, text_of, tracked


def metrics() -> Iterator[tuple[Source, ast.Call, str, str]]:
    """(source, call, name, documentation) of every Prometheus metric."""
    for source in product():
        if not any(name.startswith("prometheus_client") for _, name in imports(source)):
            continue
        for node in source.nodes:
            match node:
                case ast.Call(
                    func=ast.Name(id="Counter" | "Gauge" | "Histogram" | "Summary"),
                    args=[ast.Constant(value=str(name)), ast.Constant(value=str(text)), *_],
                ):
                    yield source, node, name, text
                case _:
                    pass


def blocks(path: str) -> Iterator[tuple[str, str]]:
    """(info string, text) of every fenced block of a page."""
    for info, text in re.findall(r"^ *```([^\n`]*)\n(.*?)^ *```", text_of(path), re.DOTALL | re.MULTILINE):
        yield info.strip(), text


def pages() -> list[str]:
    return [path for path in tracked() if path.endswith(".md") and "/golden/" not in path]


def commands(text: str) -> Iterator[str]:
    """Shell lines of a block, without their prompt."""
    for line in text.splitlines():
        command = line.strip().removeprefix("$ ")
        if command.startswith(("make ", "uv run tokenledger", "tokenledger ")):
            yield command


def snippets(kind: str) -> list[tuple[str, str]]:
    """Blocks marked as runnable: ```console runs, ```python runs."""
    return [(path, text) for path in pages() for info, text in blocks(path) if info.split() == [kind, "runs"]]
