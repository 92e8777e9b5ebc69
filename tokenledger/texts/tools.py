"""Tools offered to a model, in any dialect → OpenAI's shape."""

from collections.abc import Mapping
from typing import Any

from tokenledger.texts.blocks import objects


def read_tools(request: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools of a request; None where it offers none."""
    config = request.get("toolConfig")
    stated = config.get("tools") if isinstance(config, dict) else request.get("tools")
    found = [tool for row in objects(stated) for tool in _tools(row)]
    found += [{"type": "function", "function": row} for row in objects(request.get("functions"))]
    return found or None


def _tools(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    match row:
        case {"type": "function", "function": dict()}:
            return [dict(row)]
        case {"toolSpec": {"name": name, **spec}}:
            schema = spec.get("inputSchema")
            return [
                _function(
                    name, spec.get("description"), parameters=schema.get("json") if isinstance(schema, dict) else None
                )
            ]
        case {"functionDeclarations": declared} | {"function_declarations": declared}:
            return [_function(one.get("name"), one.get("description"), parameters=one.get("parameters"))
                    for one in objects(declared)]  # fmt: skip
        case {"name": name}:
            return [_function(name, row.get("description"), parameters=_parameters(row))]
        case {"type": str(kind)}:
            return [{"type": kind}]  # the provider's own, such as `web_search`
    return []


def _parameters(row: Mapping[str, Any]) -> object:
    if "parameter_definitions" in row:  # Cohere's first chat API
        return {"type": "object", "properties": row["parameter_definitions"]}
    return row.get("input_schema", row.get("parameters"))


def _function(name: object, description: object, *, parameters: object) -> dict[str, Any]:
    stated = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": {key: value for key, value in stated.items() if value is not None}}
