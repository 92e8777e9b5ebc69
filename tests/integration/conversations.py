"""Conversations of one tenant as the gateway captures them: the same number gives the same bytes."""

import json
import random

from confluent_kafka import Producer

from tokenledger.records.topics import RAW

_WORDS = (
    "invoice", "refund", "parcel", "password", "login", "contract", "meeting", "train", "recipe", "garden", "engine",
    "ledger", "kernel", "novel", "weather", "budget", "router", "battery", "orchard", "violin", "harbour", "canyon",
)  # fmt: skip


def conversation(number: int, *, run: str, started_at_us: int) -> bytes:
    """One call with a question and its answer."""
    source = random.Random(number)  # noqa: S311 - the same number, the same words
    words = source.choices(_WORDS, k=24)
    question = f"Please explain case {number}: " + " ".join(words[:12])
    answer = f"Case {number} is about " + " ".join(words[12:]) + ". It ends there."
    usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
    message = {"role": "assistant", "content": answer}
    reply = {
        "id": f"chatcmpl-{run}-{number}",
        "object": "chat.completion",
        "created": started_at_us // 1_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage,
    }
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": question}]}
    data: dict[str, object] = {
        "provider": "openai",
        "api": "chat",
        "request": request,
        "response": reply,
        "feature": f"f{number % 3}",
    }
    data |= {"session_id": f"s{number // 2}", "user_id": f"u{number % 50}", "started_at_us": started_at_us + number}
    return json.dumps(data).encode()


def send(bootstrap: str, *, tenant: str, count: int, started_at_us: int) -> None:
    """So many conversations into the raw topic."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20})
    for number in range(count):
        value = conversation(number, run=tenant, started_at_us=started_at_us)
        headers = {"ce_tenantid": tenant, "ce_id": f"{number}", "ce_source": "/tests", "ce_type": "llm.call.v1"}
        producer.produce(RAW.name, value, headers=[(name, text.encode()) for name, text in headers.items()])
        producer.poll(0)
    assert producer.flush(60) == 0
