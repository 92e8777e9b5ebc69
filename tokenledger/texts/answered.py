"""A whole reply in any dialect → the assistant's message."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tokenledger.texts.blocks import Message, is_text, objects, read_blocks, read_message, stated_calls


def read_answer(body: object) -> Message | None:
    """What was answered; None where nothing was, or in no shape that is known."""
    if isinstance(body, list):
        body = body[0] if len(body) == 1 else None  # Hugging Face answers with a list of one
    if not isinstance(body, dict):
        return None
    for read in _READERS:
        answer = read(body)
        if answer is not None:
            return answer
    return None


def assistant(text: object, calls: list[dict[str, Any]] | None = None) -> Message | None:
    """An assistant's message; None where it neither says nor calls anything."""
    if not is_text(text) and not calls:
        return None
    message: Message = {"role": "assistant", "content": text if is_text(text) else None}
    return message | ({"tool_calls": calls} if calls else {})


def _of_blocks(value: object) -> Message | None:
    said = read_blocks(value)
    content = said.content
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in said.parts)
    return assistant(text, said.calls)


def _message(value: object) -> Message | None:
    """A message in any chat dialect."""
    if not isinstance(value, dict):
        return None
    spoken = [one for one in read_message(value | {"role": "assistant"}) if one["role"] == "assistant"]
    content = spoken[-1]["content"] if spoken else None
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return assistant(content, spoken[-1].get("tool_calls")) if spoken else None


def _choices(body: Mapping[str, Any]) -> Message | None:
    """OpenAI's chat and completions; of several choices the first."""
    choices = objects(body.get("choices"))
    if not choices:
        return None
    return _message(choices[0].get("message")) or assistant(choices[0].get("text"))


def _content(body: Mapping[str, Any]) -> Message | None:
    """Anthropic's messages."""
    return _of_blocks(body["content"]) if isinstance(body.get("content"), list) else assistant(body.get("content"))


def _candidates(body: Mapping[str, Any]) -> Message | None:
    """Gemini."""
    candidates = objects(body.get("candidates"))
    content = candidates[0].get("content") if candidates else None
    return _of_blocks(content.get("parts")) if isinstance(content, dict) else None


def _output(body: Mapping[str, Any]) -> Message | None:
    """Responses: items; Converse: a message; Replicate: a text or its pieces."""
    output = body.get("output")
    if isinstance(output, dict):
        return _message(output.get("message")) or assistant(output.get("text"))
    if isinstance(output, list) and output and all(isinstance(piece, str) for piece in output):
        return assistant("".join(output))
    blocks: list[Any] = []
    for item in objects(output):
        blocks += item["content"] if isinstance(item.get("content"), list) else [item]
    return _of_blocks(blocks) if blocks else assistant(output)


def _spoken(body: Mapping[str, Any]) -> Message | None:
    """Ollama's and Cohere's: `message`."""
    return _message(body.get("message"))


_TEXTS: Final = ("response", "text", "generation", "completion", "generated_text", "outputText", "output_text")
_LISTS: Final = ("generations", "results", "completions", "outputs", "predictions")


def _text(body: Mapping[str, Any]) -> Message | None:
    """A text under one of the names that generators use."""
    calls = list(stated_calls(body.get("tool_calls")))
    return next((one for name in _TEXTS if (one := assistant(body.get(name), calls)) is not None), None)


def _first_of_list(body: Mapping[str, Any]) -> Message | None:
    """The same, in a list of which the first counts; AI21's wraps it in `data`."""
    for name in _LISTS:
        rows = body.get(name)
        if isinstance(rows, list) and rows and is_text(rows[0]):
            return assistant(rows[0])
        for row in objects(rows)[:1]:
            inside = row.get("data")
            return _text(row) or _content(row) or (_text(inside) if isinstance(inside, dict) else None)
    return None


_READERS: Final[tuple[Callable[[Mapping[str, Any]], Message | None], ...]] = (
    _choices, _candidates, _output, _spoken, _content, _text, _first_of_list,
)  # fmt: skip
