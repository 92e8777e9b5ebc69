# ruff: noqa: E501, SIM905  (wire shapes read best on one line)
"""Each dialect's request and reply become the same conversation: expected by hand from the providers' documents."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.records import RawEvent
from tokenledger.texts import Conversation, Message, Unread, read_conversation

HELLO: Message = {"role": "user", "content": "Hello"}
BRIEF: Message = {"role": "system", "content": "Be brief."}
HI: Message = {"role": "assistant", "content": "Hi!"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Now", "parameters": WEATHER}}
PARIS = '{"city":"Paris"}'


def call_of(call_id: str, arguments: str = PARIS) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def asks(call_id: str, arguments: str = PARIS, content: str | None = None) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": [call_of(call_id, arguments)]}


def raw(value: dict[str, Any], kind: str = "llm.call.v1") -> RawEvent:
    return RawEvent(value=json.dumps(value).encode(), headers={"ce_type": kind.encode()})


def read(request: dict[str, Any], reply: dict[str, Any], api: str | None = "chat") -> Conversation:
    conversation = read_conversation(raw({"request": request} | reply), api)
    assert isinstance(conversation, Conversation), conversation
    return conversation


def sse(*events: dict[str, Any]) -> dict[str, str]:
    return {"stream_text": "".join(f"data: {json.dumps(event)}\n\n" for event in events)}


REQUESTS: dict[str, tuple[dict[str, Any], list[Message]]] = {
    "openai": ({"messages": [{"role": "developer", "content": "Be brief."}, HELLO]}, [BRIEF, HELLO]),
    "openai parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]},
        [HELLO],
    ),
    "openai tools": (
        {
            "messages": [
                HELLO,
                {"role": "assistant", "content": None, "tool_calls": [call_of("c1")]},
                {"role": "tool", "tool_call_id": "c1", "content": "22 °C"},
            ]
        },
        [HELLO, asks("c1"), {"role": "tool", "tool_call_id": "c1", "content": "22 °C"}],
    ),
    "anthropic": (
        {
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Hello"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm"},
                        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "22 °C"}]},
                        {"type": "text", "text": "Hello"},
                    ],
                },
            ],
        },
        [BRIEF, HELLO, asks("c1"), {"role": "tool", "tool_call_id": "c1", "content": "22 °C"}, HELLO],
    ),
    "gemini": (
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Hello"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Paris"}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"c": 22}}}]},
            ],
        },
        [BRIEF, HELLO, asks("weather"), {"role": "tool", "tool_call_id": "weather", "content": '{"c":22}'}],
    ),
    "converse": (
        {
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"text": "Hello"}]},
                {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Paris"}}}],
                },
                {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": {"c": 22}}]}}]},
            ],
        },
        [BRIEF, HELLO, asks("c1"), {"role": "tool", "tool_call_id": "c1", "content": '{"c":22}'}],
    ),
    "responses": (
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": PARIS},
                {"type": "function_call_output", "call_id": "c1", "output": "22 °C"},
            ],
        },
        [BRIEF, HELLO, asks("c1"), {"role": "tool", "tool_call_id": "c1", "content": "22 °C"}],
    ),
    "responses text": ({"input": "Hello"}, [HELLO]),
    "cohere v1": (
        {"preamble": "Be brief.", "chat_history": [{"role": "CHATBOT", "message": "Hi!"}], "message": "Hello"},
        [BRIEF, HI, HELLO],
    ),
    "completions": ({"prompt": "Hello"}, [HELLO]),
    "one prompt in a list": ({"prompt": ["Hello"]}, [HELLO]),
    "ollama generate": ({"system": "Be brief.", "prompt": "Hello"}, [BRIEF, HELLO]),
    "titan": ({"inputText": "Hello"}, [HELLO]),
    "hugging face": ({"inputs": "Hello"}, [HELLO]),
    "replicate": ({"input": {"prompt": "Hello", "system_prompt": "Be brief."}}, [BRIEF, HELLO]),
    "aleph alpha": ({"prompt": [{"type": "text", "data": "Hello"}]}, [HELLO]),
    "picture": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
        [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "<IMAGE>"}}]}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_prompt_becomes_chat_messages(name: str) -> None:
    request, expected = REQUESTS[name]
    assert read(request, {}).messages == expected


def opened(event: dict[str, Any]) -> dict[str, Any]:
    return {"event": "chunk", "data": {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}}


REPLIES: dict[str, dict[str, Any]] = {
    "openai": {"response": {"choices": [{"message": HI}, {"message": {"content": "no"}}]}},
    "openai text": {"response_text": json.dumps({"choices": [{"text": "Hi!"}]})},
    "openai refusal": {"response": {"choices": [{"message": {"content": None, "refusal": "Hi!"}}]}},
    "openai stream": sse(
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": "!"}, "finish_reason": None}]},
        {"choices": [], "usage": {"prompt_tokens": 1}},
    ),
    "anthropic": {"response": {"type": "message", "content": [{"type": "text", "text": "Hi!"}]}},
    "anthropic stream": sse(
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    ),
    "responses": {"response": {"object": "response", "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi!"}]}]}},
    "responses stream": sse(
        {"type": "response.output_text.delta", "delta": "H"},
        {"type": "response.completed", "response": {"output": [
            {"type": "message", "content": [{"type": "output_text", "text": "Hi!"}]}]}},
    ),
    "responses stream cut": sse(
        {"type": "response.output_text.delta", "delta": "Hi"}, {"type": "response.output_text.delta", "delta": "!"}
    ),
    "gemini": {"response": {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}, {"text": "!"}]}}]}},
    "gemini thought": {"response": {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "Hi!"}]}}]}},
    "gemini stream": sse({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]},
                         {"candidates": [{"content": {"parts": [{"text": "!"}]}}]}),
    "gemini array": {"response": [{"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]},
                                  {"candidates": [{"content": {"parts": [{"text": "!"}]}}]}]},
    "converse": {"response": {"output": {"message": {"role": "assistant", "content": [{"text": "Hi!"}]}}}},
    "converse stream": {"events": [
        {"event": "contentBlockDelta", "data": {"contentBlockIndex": 0, "delta": {"text": "Hi"}}},
        {"event": "contentBlockDelta", "data": {"contentBlockIndex": 0, "delta": {"text": "!"}}},
        {"event": "metadata", "data": {"usage": {"inputTokens": 1}}}]},
    "invoke stream of claude": {"events": [
        opened({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi!"}})]},
    "invoke stream of nova": {"events": [opened({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hi!"}}})]},
    "invoke stream of titan": {"events": [opened({"outputText": "Hi"}), opened({"outputText": "!"})]},
    "titan": {"response": {"results": [{"outputText": "Hi!"}]}},
    "llama": {"response": {"generation": "Hi!", "prompt_token_count": 1}},
    "cohere v1": {"response": {"text": "Hi!", "generation_id": "g"}},
    "cohere v1 stream": sse({"event_type": "text-generation", "text": "Hi"}, {"event_type": "text-generation", "text": "!"}),
    "cohere v2": {"response": {"message": {"role": "assistant", "content": [{"type": "text", "text": "Hi!"}]}}},
    "cohere v2 stream": sse({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
                            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "!"}}}}),
    "ollama": {"response": {"message": HI, "done": True}},
    "ollama stream": {"stream_text": '{"message":{"role":"assistant","content":"Hi"}}\n{"message":{"content":"!"}}\n'},
    "ollama generate": {"response": {"response": "Hi!", "done": True}},
    "watsonx": {"response": {"results": [{"generated_text": "Hi!"}]}},
    "hugging face": {"response": [{"generated_text": "Hi!"}]},
    "tgi stream": sse({"token": {"text": "Hi", "special": False}}, {"token": {"text": "!", "special": False}},
                      {"token": {"text": "</s>", "special": True}, "generated_text": "Hi!"}),
    "aleph alpha": {"response": {"completions": [{"completion": "Hi!"}]}},
    "ai21": {"response": {"completions": [{"data": {"text": "Hi!"}}]}},
    "replicate": {"response": {"output": ["Hi", "!"]}},
    "writer": sse({"value": "Hi"}, {"value": "!"}),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLIES)
def test_an_answer_becomes_the_assistants_message(name: str) -> None:
    assert read({"prompt": "Hello"}, REPLIES[name]).answer == HI


def pieces(call: dict[str, Any], *more: dict[str, Any]) -> dict[str, str]:
    chunks = ({"choices": [{"delta": {"tool_calls": [piece]}, "finish_reason": None}]} for piece in (call, *more))
    return sse(*chunks)


TOOL_REPLIES: dict[str, dict[str, Any]] = {
    "openai": {"response": {"choices": [{"message": {"content": None, "tool_calls": [call_of("c1")]}}]}},
    "openai stream": pieces(
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": '"Paris"}'}},
    ),
    "anthropic": {"response": {"content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}}]}},
    "anthropic stream": sse(
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Paris"}'}},
    ),
    "converse stream": {"events": [
        {"event": "contentBlockStart", "data": {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "c1", "name": "weather"}}}},
        {"event": "contentBlockDelta", "data": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": PARIS}}}}]},
    "responses": {"response": {"output": [{"type": "function_call", "id": "f", "call_id": "c1", "name": "weather", "arguments": PARIS}]}},
    "responses stream": sse({"type": "response.output_item.done", "item": {
        "type": "function_call", "id": "f", "call_id": "c1", "name": "weather", "arguments": PARIS}}),
    "cohere v2 stream": sse(
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "c1", "function": {"name": "weather", "arguments": ""}}}}},
        {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": PARIS}}}}}),
}  # fmt: skip


@pytest.mark.parametrize("name", TOOL_REPLIES)
def test_a_call_of_a_tool_is_whole(name: str) -> None:
    assert read({"prompt": "Hello"}, TOOL_REPLIES[name]).answer == asks("c1")


TOOLS: dict[str, dict[str, Any]] = {
    "openai": {"tools": [TOOL]},
    "openai, long ago": {"functions": [TOOL["function"]]},
    "responses": {"tools": [{"type": "function", "name": "weather", "description": "Now", "parameters": WEATHER}]},
    "anthropic": {"tools": [{"name": "weather", "description": "Now", "input_schema": WEATHER}]},
    "converse": {"toolConfig": {"tools": [{"toolSpec": {"name": "weather", "description": "Now", "inputSchema": {"json": WEATHER}}}]}},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "weather", "description": "Now", "parameters": WEATHER}]}]},
    "cohere v1": {"tools": [{"name": "weather", "description": "Now", "parameter_definitions": WEATHER["properties"]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_offered_tools_are_in_openais_shape(name: str) -> None:
    assert read({"prompt": "Hello"} | TOOLS[name], {}).tools == [TOOL]


def test_a_litellm_payload_is_a_conversation_too() -> None:
    payload = {"messages": [HELLO], "response": {"choices": [{"message": HI}]}, "model_parameters": {"tools": [TOOL]}}
    found = read_conversation(raw(payload, "litellm.standard_logging_payload.v1"), "chat")
    assert found == Conversation(messages=[HELLO], tools=[TOOL], answer=HI)


@pytest.mark.parametrize(
    ("event", "api", "reason"),
    [
        (raw({"request": {"model": "m", "stream": True}}), "chat", Unread.NO_REQUEST),
        (raw({"request": {"input": ["a", "b"]}}), "embeddings", Unread.NO_CONVERSATION),
        (raw({"request": {"tool_outputs": [{"output": "x"}]}}), None, Unread.UNKNOWN_SHAPE),
        (raw({}, "otel.span.v1"), "chat", Unread.UNKNOWN_TYPE),
        (RawEvent(value=b"{", headers={}), "chat", Unread.UNREADABLE),
        (RawEvent(value=None, headers={}), "chat", Unread.UNREADABLE),
    ],
)
def test_what_gives_no_conversation_says_why(event: RawEvent, api: str | None, reason: Unread) -> None:
    assert read_conversation(event, api) == reason


def test_an_error_reply_has_no_answer() -> None:
    assert read({"messages": [HELLO]}, {"response": {"error": {"message": "no"}}, "http_status": 400}).answer is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [*"messages role content parts text type tool_calls function name arguments choices delta message".split(),
             *"output input prompt candidates contents system tools functionCall toolUse id index response".split()]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=24,
)  # fmt: skip


@given(_json, _json, st.sampled_from(["response", "events", "stream_text"]))
def test_anything_gives_a_conversation_or_a_reason(request: Any, reply: Any, where: str) -> None:
    stated = (
        reply if where == "response" else [{"data": reply}] if where == "events" else f"data: {json.dumps(reply)}\n\n"
    )
    event = raw({"request": request if isinstance(request, dict) else {"messages": request}, where: stated})
    found = read_conversation(event, None)
    assert isinstance(found, Conversation | Unread)
    if isinstance(found, Conversation):
        assert all(isinstance(message["role"], str) for message in found.messages)
        json.dumps([found.messages, found.tools, found.answer])
