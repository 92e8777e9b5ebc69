"""What an answer depends on beside the question, as a key: another tenant, prompt or setting is another cache. Pure.

A key is a hash over every part with its length, so no part can pretend to be two, and never a vector: a vector that is
near is not the same. Members of the request that nobody thought of are part of it; only those that cannot change an
answer are listed as left out.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from serving.cache.configuration import RouteCache
from serving.cache.records import Question

KEY_BYTES: Final = 16
_LEFT_OUT: Final = frozenset({
    *("model", "stream", "stream_options", "user", "safety_identifier", "metadata", "service_tier"),
    *("prompt_cache_key", "prompt_cache_retention"),
})  # fmt: skip
"""Members that say how an answer is delivered or billed. The route stands for the model."""

_encode: Final = msgspec.json.Encoder().encode


def version_of(rules: RouteCache) -> str:
    """Rules that decide what may be kept: answers kept under others are not found any more."""
    return f"{rules.scope}/{rules.highest_temperature}/{rules.time_words}"


def exact_key(question: Question, rules: RouteCache, *, knowledge: str = "") -> bytes:
    """The same request of the same app: every byte of every member that can change the answer."""
    return _hash(_place(question, rules, knowledge=knowledge), question.members)


def semantic_key(question: Question, rules: RouteCache, *, knowledge: str, around: msgspec.Raw) -> bytes:
    """The same request but for the text of its last message; `around` is all else that the messages hold."""
    return _hash([b"semantic", *_place(question, rules, knowledge=knowledge)], question.members | {"messages": around})


def _place(question: Question, rules: RouteCache, *, knowledge: str) -> list[bytes]:
    user = question.members.get("user") if rules.scope == "user" else None
    return [
        question.tenant_id.encode(),
        question.app.encode(),
        question.route.encode(),
        question.model_policy.encode(),
        rules.knowledge_version.encode(),
        knowledge.encode(),
        version_of(rules).encode(),
        b"" if user is None else bytes(user),
    ]


def _hash(parts: list[bytes], members: dict[str, msgspec.Raw]) -> bytes:
    for name in sorted(members):
        if name not in _LEFT_OUT:
            parts.append(name.encode())
            parts.append(bytes(members[name]))
    lengths = ",".join([str(len(part)) for part in parts])
    return blake2b(b"%b:%b" % (lengths.encode(), b"".join(parts)), digest_size=KEY_BYTES).digest()
