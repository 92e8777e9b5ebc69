"""What a caller asks for, read from the request's body: every field that changes the answer, checked. Pure."""

from typing import Any, Literal, TypeVar

import msgspec

_Asked = TypeVar("_Asked")
_MOST_CHOICES = 16
_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4


class Refused(Exception):  # noqa: N818 - it reads as what it says
    """The request is not what the API takes; the message says why, `param` where."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Message(msgspec.Struct):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """Its text, without images and sound."""
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class Function(msgspec.Struct):
    """A function the model may call."""

    name: str
    parameters: dict[str, Any] = {}


class Tool(msgspec.Struct):
    """A tool the model may use."""

    type: Literal["function"]
    function: Function


class StreamOptions(msgspec.Struct):
    """What a stream shall contain."""

    include_usage: bool = False


class Chat(msgspec.Struct):
    """A chat completion as it is asked for."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def prompt(self) -> str:
        """The whole conversation."""
        return "\n".join(message.text for message in self.messages)

    @property
    def limit_tokens(self) -> int | None:
        """The most the answer may have."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> list[str]:
        """Where the answer ends early."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def usage_asked(self) -> bool:
        """Whether a stream shall end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def tool(self) -> Function | None:
        """The function to call: the one demanded, else the first, unless a tool has just answered."""
        if not self.tools or self.tool_choice == "none" or self.messages[-1].role == "tool":
            return None
        wanted = self.tool_choice.get("function", {}).get("name") if isinstance(self.tool_choice, dict) else None
        return next((tool.function for tool in self.tools if wanted in {None, tool.function.name}), None)


class Embedding(msgspec.Struct):
    """Embeddings as they are asked for."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def inputs(self) -> list[str]:
        """The inputs one by one; those given as token numbers by their text form."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [str(self.input)]
        return [one if isinstance(one, str) else str(one) for one in self.input]


def read_chat(body: bytes) -> Chat:
    """The request in a body. Raises Refused."""
    chat = _decoded(body, Chat)
    _check("messages", holds=bool(chat.messages), message="'messages' is empty; it needs at least one message")
    _check(
        "n",
        holds=chat.n is None or 1 <= chat.n <= _MOST_CHOICES,
        message=f"'n' is {chat.n}; it must be 1 to {_MOST_CHOICES}",
    )
    for field in ("max_tokens", "max_completion_tokens"):
        value = getattr(chat, field)
        _check(field, holds=value is None or value >= 1, message=f"'{field}' is {value}; it must be 1 or more")
    warm = chat.temperature is None or 0 <= chat.temperature <= 2  # noqa: PLR2004 - the API's own bound
    _check("temperature", holds=warm, message=f"'temperature' is {chat.temperature}; it must be 0 to 2")
    streams = chat.stream_options is None or bool(chat.stream)
    _check("stream_options", holds=streams, message="'stream_options' needs 'stream': true")
    return chat


def read_embedding(body: bytes) -> Embedding:
    """The request in a body. Raises Refused."""
    asked = _decoded(body, Embedding)
    _check("input", holds=bool(asked.input), message="'input' is empty; it needs at least one text")
    right = asked.dimensions is None or asked.dimensions >= 1
    _check("dimensions", holds=right, message=f"'dimensions' is {asked.dimensions}; it must be 1 or more")
    return asked


def tokens_of(chat: Chat) -> int:
    """Input tokens: a quarter of the bytes, and a few a message. Not a tokenizer, but always the same."""
    size = len(chat.prompt.encode())
    tools = len(msgspec.json.encode(chat.tools)) if chat.tools else 0
    return (size + tools) // _BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE * len(chat.messages) + 3


def tokens_of_text(text: str) -> int:
    """Tokens of one input."""
    return len(text.encode()) // _BYTES_PER_TOKEN + 1


def _decoded(body: bytes, kind: type[_Asked]) -> _Asked:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = str(error)
        raise Refused(f"the body is not a valid request: {found}", _field(found)) from error


def _field(found: str) -> str | None:
    """The field in `… - at `$.messages[0].role``, else the one a sentence quotes."""
    path = found.partition("`$.")[2].rstrip("`")
    if path:
        return path
    return found.split("`")[1] if "required field" in found else None


def _check(param: str, *, holds: bool, message: str) -> None:
    if not holds:
        raise Refused(message, param)
