"""Captured texts made by hand: one call, or operations of many."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dags.core.attempts import Attempt, Score, Unreadable, read
from dags.core.recipe import Recipe, recipe
from ledger.lake.reading import write_texts
from tokenledger.records.texts import CapturedText

START_US = 1_795_000_000_000_000
"""2026-11-18, 11:06:40 UTC."""
DAY_US = 86_400_000_000


def text(
    number: int = 0, *, asked: str = "What is it?", said: str | None = "It is that.", **facts: Any
) -> CapturedText:
    """One call of tenant `acme`; an answer of None is none."""
    usual: dict[str, Any] = {
        "tenant_id": "acme",
        "event_key": f"app#{number}",
        "started_at_us": START_US + number * 1_000_000,
        "conversation_id": f"conversation-{number}",
        "user_hash": f"user-{number}",
        "feature": "chat",
        "provider": "openai",
        "model": "small-1",
        "route_tier": "small",
        "finish_reason": "stop",
        "messages": json.dumps([{"role": "user", "content": asked}]),
        "answer": None if said is None else json.dumps({"role": "assistant", "content": said}),
    }
    return CapturedText(**(usual | facts))


def attempt(number: int = 0, *, score: Score | None = None, **facts: Any) -> Attempt:
    """The same, read."""
    found = read(text(number, **facts), score)
    assert not isinstance(found, Unreadable), found
    return found


def escalated(number: int, *, asked: str, cheap: str, strong: str, **facts: Any) -> tuple[CapturedText, CapturedText]:
    """A cheap answer that was replaced by a strong one."""
    shared = {"operation_id": f"operation-{number}"} | facts
    first = text(2 * number, asked=asked, said=cheap, attempt_no=1, attempt_role="primary", **shared)
    facts_of_strong = {"model": "large-1", "route_tier": "large"} | shared
    second = text(2 * number + 1, asked=asked, said=strong, attempt_no=2, attempt_role="escalation", **facts_of_strong)
    same = {"conversation_id": first.conversation_id, "user_hash": first.user_hash}
    return first, _replaced(second, same)


def _replaced(one: CapturedText, facts: Mapping[str, Any]) -> CapturedText:
    return CapturedText(**({name: getattr(one, name) for name in one.__struct_fields__} | dict(facts)))


def talk(count: int, *, first: int = 0) -> Iterator[CapturedText]:
    """Operations that say different things, three to a conversation, two conversations to a user."""
    for number in range(first, first + count):
        subject = " ".join(f"{word}{number}" for word in ("river", "invoice", "winter", "letter", "bridge", "market"))
        yield text(
            number,
            asked=f"Tell me about {subject}?",
            said=f"Well, {subject} is as it is, and {subject} was so before.",
            operation_id=f"operation-{number}",
            conversation_id=f"conversation-{number // 3}",
            user_hash=f"user-{number // 6}",
            feature=("chat", "mail")[number % 2],
        )


def lake_of(folder: Path, texts: Sequence[CapturedText], *, first_offset: int = 0) -> Path:
    """A lake that holds them."""
    write_texts(folder, texts, first_offset=first_offset)
    return folder


def rules(lines: str = "", *, name: str = "made", kind: str = "finetune", tenants: str = '["acme"]') -> Recipe:
    """A recipe of tenant `acme`, and these lines."""
    return recipe(f'name = "{name}"\nkind = "{kind}"\n[consent]\ntenants = {tenants}\n{lines}', where="made")
