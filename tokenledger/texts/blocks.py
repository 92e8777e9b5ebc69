"""The content of one message in any dialect → text, tool calls and tool results in OpenAI's chat shape.

Every provider wraps text, pictures and tool use into blocks of its own; their shapes do not collide, so one reader
knows them all. What is no text (a picture, a sound, a file) leaves a mark of its kind: the lake keeps words only.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec

Message: TypeAlias = dict[str, Any]
"""`{"role", "content", "tool_calls"?, "tool_call_id"?}`."""

ROLES: Final = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "model": "assistant", "ai": "assistant", "chatbot": "assistant", "bot": "assistant", "tool": "tool",
    "function": "tool", "ipython": "tool",
}  # fmt: skip
"""A dialect's word for who speaks → OpenAI's."""

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

_PICTURES: Final = frozenset(
    {"image_url", "input_image", "image", "inlineData", "inline_data", "fileData", "file_data"}
)
_OTHERS: Final = {
    "input_audio": "<AUDIO>", "audio": "<AUDIO>", "video": "<VIDEO>", "file": "<FILE>", "input_file": "<FILE>",
    "document": "<FILE>",
}  # fmt: skip
_SILENT: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoningContent", "cachePoint"})
"""Blocks that are not said to anyone."""
_KINDS: Final = ("inlineData", "inline_data", "fileData", "file_data", "image", "video", "document", "audio")
"""Blocks that name their kind by their only field."""


class Said(msgspec.Struct):
    """What one message holds."""

    parts: list[dict[str, Any]] = []
    """Text and marks, in order."""
    calls: list[dict[str, Any]] = []
    """Tool calls."""
    results: list[Message] = []
    """Tool results, as messages of their own."""

    def add_text(self, text: str) -> None:
        """More text."""
        self.parts.append({"type": "text", "text": text})

    @property
    def content(self) -> str | list[dict[str, Any]] | None:
        """One text where there is nothing else; None where there is nothing."""
        if not self.parts:
            return None
        if all(part["type"] == "text" for part in self.parts):
            return "".join(part["text"] for part in self.parts)
        return self.parts


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text with something in it."""
    return isinstance(value, str) and bool(value)


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def role_of(stated: object, otherwise: str = "user") -> str:
    """OpenAI's word for who speaks."""
    return ROLES.get(stated.lower(), otherwise) if isinstance(stated, str) else otherwise


def tool_call(call_id: object, name: object, *, arguments: object) -> dict[str, Any]:
    """A call of a tool; its arguments are JSON text."""
    text = arguments if isinstance(arguments, str) else _encode({} if arguments is None else arguments).decode()
    function = {"name": name if isinstance(name, str) else "", "arguments": text}
    return {"id": call_id if isinstance(call_id, str) else "", "type": "function", "function": function}


def tool_result(call_id: object, content: object) -> Message:
    """What a tool gave back."""
    return {"role": "tool", "tool_call_id": call_id if isinstance(call_id, str) else "", "content": flat(content)}


def flat(value: object) -> str:
    """Any content as one text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    said = read_blocks(value)
    content = said.content
    if isinstance(content, str):
        return content
    return _encode(value).decode() if content is None else "".join(part.get("text", "<IMAGE>") for part in content)


def read_blocks(value: object) -> Said:
    """Content in any dialect."""
    said = Said()
    for block in value if isinstance(value, list) else [value]:
        if is_text(block):
            said.add_text(block)
        elif isinstance(block, dict):
            _add_block(said, block)
    return said


def _add_block(said: Said, block: Mapping[str, Any]) -> None:
    kind = block.get("type")
    if kind in _SILENT or block.get("thought") is True or not _SILENT.isdisjoint(block):
        return
    if _add_tool_use(said, block):
        return
    if is_text(block.get("refusal")):
        said.add_text(block["refusal"])
    elif isinstance(block.get("text"), Mapping):  # Assistants wrap the text once more
        said.add_text(str(block["text"].get("value", "")))
    elif is_text(block.get("text")):
        said.add_text(block["text"])
    elif block.get("json") is not None:
        said.add_text(_encode(block["json"]).decode())
    else:
        _add_mark(said, block)


def _add_mark(said: Said, block: Mapping[str, Any]) -> None:
    kind = str(block.get("type") or next((name for name in _KINDS if name in block), ""))
    if kind in _PICTURES:
        said.parts.append({"type": "image_url", "image_url": {"url": "<IMAGE>"}})
    elif kind in _OTHERS:
        said.add_text(_OTHERS[kind])


def _add_tool_use(said: Said, block: Mapping[str, Any]) -> bool:
    """Anthropic's, Bedrock's, Gemini's and the Responses API's ways to call a tool and to answer."""
    match block:
        case {"type": "tool_use" | "server_tool_use", "name": name}:
            said.calls.append(tool_call(block.get("id"), name, arguments=block.get("input")))
        case {"type": "tool_result"}:
            said.results.append(tool_result(block.get("tool_use_id"), block.get("content")))
        case {"toolUse": {"name": name, **use}}:
            said.calls.append(tool_call(use.get("toolUseId"), name, arguments=use.get("input")))
        case {"toolResult": {**result}}:
            said.results.append(tool_result(result.get("toolUseId"), result.get("content")))
        case {"functionCall": {"name": name, **use}} | {"function_call": {"name": name, **use}}:
            said.calls.append(tool_call(use.get("id") or name, name, arguments=use.get("args")))
        case {"functionResponse": {"name": name, **result}} | {"function_response": {"name": name, **result}}:
            said.results.append(tool_result(result.get("id") or name, _encode(result.get("response")).decode()))
        case {"type": "function_call", "name": name}:
            said.calls.append(tool_call(block.get("call_id"), name, arguments=block.get("arguments")))
        case _:
            return False
    return True


def stated_calls(stated: object) -> Iterable[dict[str, Any]]:
    """`tool_calls` of OpenAI, Mistral, Ollama and Cohere, which name the function directly."""
    for call in objects(stated):
        function = call.get("function")
        holder = function if isinstance(function, dict) else call
        arguments = holder.get("arguments", holder.get("parameters"))
        yield tool_call(call.get("id"), holder.get("name"), arguments=arguments)


def read_message(message: Mapping[str, Any]) -> list[Message]:
    """One message of a chat, and the tool results it carried as messages of their own, which come first."""
    role = role_of(message.get("role"))
    said = read_blocks(message.get("content", message.get("parts")))
    calls = [*stated_calls(message.get("tool_calls")), *said.calls]
    if isinstance(message.get("function_call"), dict):
        calls += stated_calls([message["function_call"]])
    if role == "tool":
        call_id = message.get("tool_call_id") or message.get("name") or message.get("tool_name")
        return [*said.results, *([tool_result(call_id, message.get("content"))] if not said.results else [])]
    content = said.content or message.get("refusal")
    if content is None and not calls:
        return said.results or [{"role": role, "content": ""}]
    spoken: Message = {"role": role, "content": content}
    if calls:
        spoken["tool_calls"] = calls
    return [*said.results, spoken]
