"""Whether a SQL statement is fixed: a constant, a psycopg composition, or a name that only ever means one of these."""

import ast
from collections.abc import Iterator

from tests.house.tree import Source, dotted, imports

SQL_METHODS = frozenset({"execute", "executemany", "copy"})


def built_statements(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Calls that execute a text which is not fixed, and compositions of such a text."""
    for node in source.nodes:
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in SQL_METHODS:
            if not is_fixed_sql(node.args[0], source):
                yield node, f"executes {ast.unparse(node.args[0])[:60]}"
        elif dotted(node.func) == "sql.SQL" and not isinstance(node.args[0], ast.Constant):
            yield node, "composes a text that is not constant"


def is_fixed_sql(node: ast.expr, source: Source) -> bool:
    """A constant, a psycopg composition, or a name that only ever means one of these."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            values = list(bindings(name, source))
            imported = any(full.endswith(f".{name}") for _, full in imports(source))
            return (bool(values) or (imported and name.isupper())) and all(
                is_fixed_sql(value, source) for value in values
            )
        case ast.Call():
            return is_composition(node, source)
        case ast.IfExp(body=body, orelse=orelse):
            return is_fixed_sql(body, source) and is_fixed_sql(orelse, source)
        case _:
            return False


def is_composition(node: ast.expr, source: Source) -> bool:
    """`sql.SQL(…)`, its `format` and `join`, or a name for one."""
    match node:
        case ast.Call(func=func) if dotted(func) == "sql.SQL":
            return True
        case ast.Call(func=ast.Attribute(value=value, attr="format" | "join")):
            return is_composition(value, source)
        case ast.Name(id=name):
            values = list(bindings(name, source))
            return bool(values) and all(is_composition(value, source) for value in values)
        case _:
            return False


def bindings(name: str, source: Source) -> Iterator[ast.expr]:
    """Every value the name is given in the file, loops over literal tuples included."""
    for node in source.nodes:
        match node:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from bound(name, target, value)
            case ast.For(target=target, iter=ast.Tuple(elts=rows) | ast.List(elts=rows)):
                for row in rows:
                    yield from bound(name, target, row)
            case _:
                pass


def bound(name: str, target: ast.expr, value: ast.expr) -> Iterator[ast.expr]:
    match target, value:
        case ast.Name(id=found), _ if found == name:
            yield value
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for inner_target, inner_value in zip(targets, values, strict=False):
                yield from bound(name, inner_target, inner_value)
        case _:
            pass
