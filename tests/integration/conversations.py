"""Conversations as the gateway captures them: the same number gives the same bytes."""

import hashlib
import json
import random
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer

from tokenledger.records.topics import RAW

_WORDS = (
    "invoice", "refund", "parcel", "password", "login", "contract", "meeting", "train", "recipe", "garden", "engine",
    "ledger", "kernel", "novel", "weather", "budget", "router", "battery", "orchard", "violin", "harbour", "canyon",
)  # fmt: skip


REFUSED = "I'm sorry, but I can't help with that."
"""How some answers end: a check finds them."""


def conversation(number: int, *, run: str, started_at_us: int) -> bytes:
    """One call with a question and its answer; every fiftieth is refused."""
    source = random.Random(number)  # noqa: S311 - the same number, the same words
    words = source.choices(_WORDS, k=24)
    question = f"Please explain case {number}: " + " ".join(words[:12])
    answer = f"Case {number} is about " + " ".join(words[12:]) + ". It ends there."
    facts: dict[str, Any] = {"feature": f"f{number % 3}", "session_id": f"s{number // 2}", "user_id": f"u{number % 50}"}
    said = REFUSED if number % 50 == 49 else answer
    return _call(f"{run}-{number}", question, said, started_at_us=started_at_us + number, **facts)


def routed(number: int, *, run: str, started_at_us: int, is_hard: bool) -> tuple[bytes, bytes]:
    """One operation that two tiers answered: a hard one was escalated, of an easy one the strong tier's is worse."""
    subject, other = _WORDS[number % len(_WORDS)], _WORDS[(7 * number + 3) % len(_WORDS)]
    facts: dict[str, Any] = {"operation_id": f"{run}-{number}", "feature": "golden" if number % 2 else "train"}
    first = facts | {"attempt_no": 1, "attempt_role": "primary", "route_tier": "small"}
    second = facts | {"attempt_no": 2, "route_tier": "large"}
    if is_hard:
        question = f"Prove that the {subject} of order {number} bounds every {other}, with all lemmas."
        answers, second["attempt_role"], tokens = ("It is about twelve.", "Here is the proof."), "escalation", 400
    else:
        question = f"What colour is the {subject} near the {other}, number {number}?"
        answers, second["attempt_role"], tokens = (f"The {subject} is green.", REFUSED), "shadow", 20
    at_us = started_at_us + number * 1_000_000
    return (
        _call(f"{run}-{number}-1", question, answers[0], started_at_us=at_us, tokens=tokens, **first),
        _call(f"{run}-{number}-2", question, answers[1], started_at_us=at_us + 500_000, tokens=tokens, **second),
    )


def _call(id_: str, question: str, answer: str, *, started_at_us: int, tokens: int = 20, **facts: Any) -> bytes:
    message = {"role": "assistant", "content": answer}
    reply = {
        "id": f"chatcmpl-{id_}",
        "object": "chat.completion",
        "created": started_at_us // 1_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 30, "completion_tokens": tokens, "total_tokens": 30 + tokens},
    }
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": question}]}
    data = {"provider": "openai", "api": "chat", "request": request, "response": reply}
    return json.dumps(data | facts | {"started_at_us": started_at_us}).encode()


def send(bootstrap: str, *, tenant: str, values: Iterable[bytes]) -> int:
    """Conversations into the raw topic; how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 20})
    count = 0
    for value in values:
        id_ = hashlib.sha256(value).hexdigest()
        headers = {"ce_tenantid": tenant, "ce_id": id_, "ce_source": "/tests", "ce_type": "llm.call.v1"}
        producer.produce(RAW.name, value, headers=[(name, text.encode()) for name, text in headers.items()])
        producer.poll(0)
        count += 1
    assert producer.flush(60) == 0
    return count
