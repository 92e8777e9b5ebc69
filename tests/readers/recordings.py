"""Replies written for these tests, in the providers' documented shapes, and files made of them."""

import base64
import gzip
import json
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

from tokenledger.readers import Found, Options, Unreadable, expand, read

CHAT: dict[str, Any] = {
    "id": "chatcmpl-A1",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "It rains in Ulm."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
}
"""1000 × 0.15 + 200 × 0.60 USD per million = 0.00027 USD."""
CHAT_USD_PICO = 270_000_000

MESSAGE: dict[str, Any] = {
    "id": "msg_B1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "It rains in Ulm."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 100, "output_tokens": 50},
}
"""100 × 3 + 50 × 15 USD per million = 0.00105 USD."""
MESSAGE_USD_PICO = 1_050_000_000

SSE = (
    'data: {"id":"chatcmpl-S1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"It rains"},"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-S1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini",'
    '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"chatcmpl-S1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini",'
    '"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200}}\n\n'
    "data: [DONE]\n\n"
)

OLLAMA = (
    '{"model":"llama3","created_at":"2025-10-09T08:53:20Z","message":{"role":"assistant","content":"It"},"done":false}\n'
    '{"model":"llama3","created_at":"2025-10-09T08:53:21Z","message":{"role":"assistant","content":""},"done":true,'
    '"done_reason":"stop","prompt_eval_count":30,"eval_count":7}\n'
)


def cloud_event(data: dict[str, Any], event_id: str = "e1", tenant: str | None = "acme") -> dict[str, Any]:
    """A structured CloudEvent around an envelope."""
    event = {"specversion": "1.0", "id": event_id, "source": "tests", "type": "llm.call.v1", "data": data}
    return event if tenant is None else event | {"tenantid": tenant}


def lines(*rows: Any) -> str:
    """A file of JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def cassette_yaml(body: bytes, *, encoding: str | None = None, content_type: str = "application/json") -> str:
    """A cassette as vcrpy writes it, the body in base64 as it does for bytes."""
    packed = gzip.compress(body) if encoding == "gzip" else body
    return (
        "interactions:\n- request:\n"
        '    body: \'{"model":"gpt-4o-mini","stream":false,"messages":[{"role":"user","content":"Weather?"}]}\'\n'
        "    method: POST\n    uri: https://api.openai.com/v1/chat/completions?key=secret\n"
        "  response:\n    body:\n      string: !!binary |\n"
        f"        {base64.b64encode(packed).decode()}\n"
        f"    headers:\n      Content-Type:\n      - {content_type}\n"
        + (f"      Content-Encoding:\n      - {encoding}\n" if encoding else "")
        + "      Date:\n      - Thu, 09 Oct 2025 08:53:20 GMT\n"
        "    status:\n      code: 200\n      message: OK\nversion: 1\n"
    )


def event_stream(*events: tuple[str, dict[str, Any]]) -> bytes:
    """Frames of `application/vnd.amazon.eventstream`."""
    return b"".join(_frame(name, json.dumps(payload).encode()) for name, payload in events)


def _frame(name: str, payload: bytes) -> bytes:
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event"))
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", crc32(frame))


def har(body: str) -> dict[str, Any]:
    """A HAR file with one entry."""
    entry = {
        "startedDateTime": "2025-10-09T08:53:20.000Z",
        "time": 1500,
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "postData": {"mimeType": "application/json", "text": '{"model":"gpt-4o-mini","messages":[]}'},
        },
        "response": {
            "status": 200,
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "content": {"mimeType": "application/json", "text": base64.b64encode(body.encode()).decode(),
                        "encoding": "base64"},
        },
    }  # fmt: skip
    return {"log": {"version": "1.2", "creator": {"name": "tests", "version": "1"}, "entries": [entry]}}


def write(folder: Path, name: str, content: str | bytes) -> str:
    """A file of that content; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read_all(*paths: str, redact: bool = False, provider: str | None = None) -> tuple[list[Found], list[Unreadable]]:
    """Everything the readers find, and what they could not read."""
    problems: list[Unreadable] = []
    names = expand(paths, problems.append)
    return list(read(names, Options(redact=redact, provider=provider), on_problem=problems.append)), problems
