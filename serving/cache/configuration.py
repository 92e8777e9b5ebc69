"""What the operator says of the caches: `[cache]` for the process, `[routes.NAME.cache]` for each route."""

from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Budget = Annotated[float, msgspec.Meta(ge=0.001, le=0.5)]
Confidence = Annotated[float, msgspec.Meta(ge=0.5, le=0.999)]
Word = Annotated[str, msgspec.Meta(max_length=128)]


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where answers are kept, and how many. All processes of a machine share one folder. A change needs a restart."""

    folder: str = ".local/stack/data/cache"
    """Folder of the store; made if it is not there, readable by its owner alone."""
    faq_folder: str | None = None
    """Folder of written answers, one file a tenant: TENANT.toml; read again when one changes."""
    tenant_entries: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 20_000
    """Most answers of one tenant; the one used longest ago goes first. Semantic entries are counted apart."""
    total_bytes: Positive = 268_435_456
    """Most bytes of answers in memory, all tenants together."""
    look_up_ms: Positive = 150
    """Longest wait for the semantic cache; then the request goes on without it."""
    waiting: Count = 32
    """Requests that may wait for the semantic cache; one more goes on without it."""
    refresh_ms: Positive = 1_000
    """How often other processes' answers, purges and written answers are looked for."""


class RouteCache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answers of a route may be given again, and how sure the semantic cache has to be."""

    exact: bool = True
    """Whether the same request gets the same answer."""
    static: bool = False
    """Whether questions are looked for among the tenant's written answers."""
    semantic: bool = False
    """Whether a question may get the answer of one that means the same."""
    ttl_s: Positive = 86_400
    """Oldest answer that is given again."""
    scope: Literal["app", "user"] = "app"
    """Whether answers are shared by all users of an app, or kept apart by the request's `user`."""
    knowledge_version: Word = ""
    """Version of what the answers rest on, such as an index; another version is another cache."""
    highest_temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0
    """Requests with a higher one are never answered from a cache; a request that does not say has 1."""
    time_words: bool = False
    """Whether questions with words such as `today` or `latest` may be answered from a cache."""
    reply_bytes: Positive = 65_536
    """Largest reply that is kept."""
    error_budget: Budget = 0.02
    """Of semantic hits, the share that may be wrong."""
    confidence: Confidence = 0.95
    """How sure it must be that no more are."""
    least_similarity: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.8
    """Cosine similarity below which two questions are never taken for one."""
    explore_share: Share = 0.02
    """Share of semantic hits that go to a model instead, to learn from."""
    verify_share: Share = 0.05
    """Share of semantic hits that are served and checked against a model behind the caller's back."""
    same_answer: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.92
    """Cosine similarity from which two long answers say the same, their numbers, names and negations being equal."""
