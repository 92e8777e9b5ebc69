"""What a route says of choosing: the router's files, the cascade, the checks of an answer, the experiment. Pure."""

from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

Mode = Literal["shadow", "stream-now", "verify-first"]


class RouterFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the router's policy and its models are; both are read again when they change."""

    policy_file: str
    """The router's policy; docs/routing.md has its fields. `make up` makes one: `.local/stack/router.toml`."""
    models_dir: str = ".local/stack/models/router"
    """Folder of the router's models, where `tokenledger router promote` on the local stack leaves them."""


class Checks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an answer must pass to be served by `verify-first`; the strongest tier's is served as it is."""

    format: bool = True
    """Whether JSON that was asked for must be JSON, fit its schema, and tool calls their tools."""
    refusal: bool = True
    """Whether an answer that begins as a refusal is escalated."""
    cut: bool = True
    """Whether an answer that ended at its token limit is escalated."""
    least_chars: Count = 1
    """Fewer characters, blanks aside, are escalated; an answer of tool calls has no text and is not."""
    min_logprob: Annotated[float, msgspec.Meta(le=0)] | None = None
    """Least mean log-probability of the answer's tokens, from upstreams that say `logprobs = true`."""


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the tiers of a route work together."""

    policy: Name
    """The route's name in the router's policy."""
    mode: Mode = "shadow"
    """`shadow` decides and logs, `stream-now` asks the tier that was chosen, `verify-first` checks its answer too."""
    second_opinion: str | None = None
    """Upstream asked beside the first tier, in parallel; an answer it does not agree with is escalated."""
    agreement: Literal["exact", "normalised", "semantic"] = "normalised"
    """How open answers are compared; letters, numbers, yes and no, JSON and tool calls are always compared exactly."""
    similarity: Share = 0.9
    """Least cosine similarity of two answers that agree; `semantic` only."""
    without_second_opinion: Literal["accept", "escalate"] = "escalate"
    """What is done with an answer whose second opinion failed to come."""
    speculate: Share | None = None
    """Probability of escalation from which the next tier is asked at once; without it, never."""
    attempts: Annotated[int, msgspec.Meta(ge=2, le=16)] = 6
    """Most attempts of one request by `verify-first`, second opinions and speculation included."""
    deadline_ms: Positive = 120_000
    """From the request's beginning: then nothing more is tried, and the best answer there is serves."""
    weaker_fallback: bool = False
    """Whether a weaker tier may answer where the chosen one and all stronger ones fail."""
    checks: Checks = Checks()
    """What an answer must pass."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cascade against something simpler, by a hash that is the same for every request of one caller."""

    name: Name
    """Name of the experiment; another name deals anew."""
    share: Share = 0.5
    """Share of callers that get the cascade; the others are the control."""
    by: Literal["session", "user", "key"] = "session"
    """What stays in its arm: the session header, the request's `user`, or the key; where one is absent, the key."""
    control_tier: Name | None = None
    """Tier that serves the control; without it, the route's upstreams in their order."""
