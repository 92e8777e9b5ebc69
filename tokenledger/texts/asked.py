"""A request body in any dialect → the prompt as chat messages."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tokenledger.texts.blocks import (
    Message,
    flat,
    is_text,
    objects,
    read_blocks,
    read_message,
    role_of,
    stated_calls,
    tool_call,
    tool_result,
)


class Asked(msgspec.Struct, frozen=True):
    """The prompt."""

    messages: list[Message]
    """In the order they were said."""


def read_request(request: Mapping[str, Any]) -> Asked | None:
    """The prompt of a request; None where it holds none in a shape that is known."""
    for read in _READERS:
        messages = read(request)
        if messages:
            return Asked(messages)
    return None


def _system(*stated: object) -> list[Message]:
    """Instructions that stand beside the messages."""
    texts = [flat(text) for text in stated if text]
    return [{"role": "system", "content": text} for text in texts if text]


def _chat(request: Mapping[str, Any]) -> list[Message]:
    """OpenAI, Anthropic, Bedrock Converse, Mistral, Ollama, Cohere v2: `messages`."""
    stated = request.get("messages")
    if is_text(stated):
        return [{"role": "user", "content": stated}]
    said = [message for row in objects(stated) for message in read_message(row)]
    return [*_system(request.get("system")), *said] if said else []


def _gemini(request: Mapping[str, Any]) -> list[Message]:
    stated = request.get("contents")
    rows = [{"parts": [stated]}] if is_text(stated) else objects(stated)
    said = [message for row in rows for message in read_message(row)]
    system = request.get("systemInstruction") or request.get("system_instruction")
    parts = system.get("parts") if isinstance(system, dict) else system
    return [*_system(parts), *said] if said else []


def _responses(request: Mapping[str, Any]) -> list[Message]:
    """OpenAI's Responses: `input` is a text or a list of items."""
    stated = request.get("input")
    items: list[Any] = [stated] if is_text(stated) else stated if isinstance(stated, list) else []
    if len(items) > 1 and not objects(items):  # texts to embed, not turns
        return []
    said = [message for item in items for message in _item(item)]
    return [*_system(request.get("instructions")), *said] if said else []


def _item(item: Any) -> list[Message]:
    match item:
        case str():
            return [{"role": "user", "content": item}]
        case {"type": "function_call" | "custom_tool_call", "name": name, **call}:
            arguments = call.get("arguments", call.get("input"))
            calls = [tool_call(call.get("call_id"), name, arguments=arguments)]
            return [{"role": "assistant", "content": None, "tool_calls": calls}]
        case {"type": "function_call_output" | "custom_tool_call_output", **result}:
            return [tool_result(result.get("call_id"), result.get("output"))]
        case {"role": _, "content": _}:
            return read_message(item)
    return []


def _cohere(request: Mapping[str, Any]) -> list[Message]:
    """Cohere's first chat API: the last message, and the history before it."""
    message = request.get("message")
    if not is_text(message) and not objects(request.get("tool_results")):
        return []
    said = _system(request.get("preamble"))
    for row in objects(request.get("chat_history")):
        calls = list(stated_calls(row.get("tool_calls")))
        spoken: Message = {"role": role_of(row.get("role")), "content": row.get("message")}
        said.append(spoken | ({"tool_calls": calls} if calls else {}))
    for result in objects(request.get("tool_results")):
        call = result.get("call")
        said.append(tool_result(call.get("name") if isinstance(call, dict) else "", result.get("outputs")))
    return [*said, *([{"role": "user", "content": message}] if is_text(message) else [])]


def _prompt(request: Mapping[str, Any]) -> list[Message]:
    """One text without turns: completions, Ollama's generate, models behind Bedrock's InvokeModel."""
    prompts = (request.get(name) for name in ("prompt", "inputText", "inputs", "text_input"))
    text = next((one for one in map(_single, prompts) if one is not None), None)
    inside = request.get("input")
    if text is None and isinstance(inside, dict):  # Replicate
        return [*_system(inside.get("system_prompt")), *_prompt(inside)] if "prompt" in inside else []
    return [] if text is None else [*_system(request.get("system")), {"role": "user", "content": text}]


def _single(stated: object) -> str | None:
    """The prompt, where it is one text: several prompts are several conversations, token ids are none."""
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if isinstance(stated, dict):
        return _text_of(stated)
    return stated if is_text(stated) else None


def _text_of(stated: Mapping[str, Any]) -> str | None:
    """Aleph Alpha wraps a prompt's pieces as `{"type": "text", "data": …}`."""
    if is_text(stated.get("data")):
        return str(stated["data"])
    content = read_blocks(dict(stated)).content
    return content if isinstance(content, str) else None


def _instances(request: Mapping[str, Any]) -> list[Message]:
    """Vertex's `predict`: one instance with a prompt or messages."""
    stated = objects(request.get("instances"))
    return (_chat(stated[0]) or _prompt(stated[0])) if len(stated) == 1 else []


_READERS: Final[tuple[Callable[[Mapping[str, Any]], list[Message]], ...]] = (
    _chat, _gemini, _responses, _cohere, _prompt, _instances,
)  # fmt: skip
