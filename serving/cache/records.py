"""What the gateway and the cache say to each other."""

from typing import Final, Literal, Protocol, get_args

import msgspec

Kind = Literal["exact", "static", "semantic"]

Reason = Literal[
    "off", "opted_out", "unknown",
    "several_choices", "hot", "live_tools", "tool_results", "media", "no_question", "too_long", "personal_data",
    "time_words",
    "no_model", "busy", "too_late", "switched_off", "nothing_near", "unsure", "explored",
    "guard_numbers", "guard_negation", "guard_names", "guard_units", "guard_dates", "guard_language", "guard_order",
    "guard_words",
]  # fmt: skip
"""Why there is no answer. Not asked: `off` (the route has no cache), `opted_out` (the caller's wish), from
`several_choices` to `time_words` what the rules say of the request. Asked: `unknown`, and of the semantic cache whether
it could not answer, was not sure, asked a model in order to learn, or which guard told the questions apart.
"""

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class Question(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request that may be answered from the cache."""

    tenant_id: str
    """The tenant, by key. Nothing ever crosses it."""
    app: str
    """Project and feature the call is charged to, as `project/feature`; a `/` or `%` of the project is `%2F` or `%25`.

    Another app has another cache.
    """
    route: str
    """Route of the gateway."""
    model_policy: str
    """Version of what chooses the model behind the route; another policy has another cache."""
    operation_id: str
    """The caller's request."""
    members: dict[str, msgspec.Raw]
    """Top level of the request body."""
    at_us: int
    """Now, µs UTC."""
    wish: bytes | None = None
    """The caller's header `x-tokenledger-cache`. It may forbid or tighten, never allow or loosen."""


class Hit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer from the cache."""

    kind: Kind
    """Which cache had it."""
    entry_id: str
    """The entry, for purging and for the log."""
    reply: bytes
    """A whole chat completion as JSON, with the usage of the call that made it, or without where none was.

    Its `id` is the hit's own: two calls of one id would be one call in the ledger.
    """
    provider: str
    """Provider of the call that made it."""
    model: str
    """Model that made it; for a written answer, the route's name."""
    similarity: float | None = None
    """Cosine similarity of the questions; semantic only."""
    stored_at_us: int = 0
    """When it was kept, µs UTC; 0 for a written answer."""
    verify: bool = False
    """Whether this hit was drawn to be checked: ask the model as well, and tell `verified` what it said."""


class Miss(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """No answer; what is needed to keep the one that will be found."""

    reason: Reason
    """Why."""
    ticket: object | None = None
    """For `offer`; None where the answer shall not be kept."""


class Cache(Protocol):
    """Looks up before a model is asked, and keeps what a model said."""

    async def look_up(self, question: Question) -> Hit | Miss:
        """The answer, or why there is none. Bounded in time; never raises for what a caller sent."""

    def offer(self, miss: Miss, reply: bytes, *, provider: str, model: str) -> None:
        """A whole, successful, verified reply to a question that missed. Does not wait."""

    def verified(self, question: Question, hit: Hit, *, reply: bytes) -> None:
        """What the model says to a question that a hit answered. Does not wait."""
