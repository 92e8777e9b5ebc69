"""What the gateway's parts say to each other: who may, what is about to be sent, what came of it."""

from typing import Protocol

import msgspec

from tokenledger.records.decision import RouteDecision


class Admitted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request that may go on, and on whose account."""

    tenant_id: str
    """The tenant the key belongs to."""
    api_key_id: str
    """Id of the key, never the key."""
    project: str | None = None
    """Project of the key."""
    environment: str | None = None
    """Environment of the key."""
    feature: str | None = None
    """Feature the call is charged to: the request's, else the key's default."""
    models: tuple[str, ...] | None = None
    """Models the key may call, `*` at an end for any rest; None for all."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Response headers that tell the caller about limits (`x-ratelimit-…`)."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a request may not go on, as an OpenAI error."""

    http_status: int
    """401, 403, 404, 413, 429, 503, …"""
    message: str
    """What, which value, what would be right; never a secret."""
    type: str
    """OpenAI error `type`, such as `invalid_request_error`, `insufficient_quota`, `rate_limit_error`."""
    code: str | None = None
    """OpenAI error `code`, such as `invalid_api_key`, `insufficient_quota`."""
    param: str | None = None
    """The field at fault."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Response headers that belong to it (`retry-after`, `x-should-retry`, `x-ratelimit-…`)."""


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One attempt at one upstream that is about to be made. Durable before the first byte is sent."""

    event_id: str
    """CloudEvents id of this attempt; intent and outcome share it."""
    operation_id: str
    """The caller's request; its retries and fallbacks share it."""
    attempt_no: int
    """Number of the attempt within the operation, from 1."""
    attempt_role: str
    """`primary`, `retry`, …"""
    tenant_id: str
    """The tenant, by key."""
    api_key_id: str
    """Id of the key."""
    project: str | None = None
    """Project."""
    environment: str | None = None
    """Environment."""
    feature: str | None = None
    """Feature."""
    user_id: str | None = None
    """End user, opaque, as the request's `user` says."""
    session_id: str | None = None
    """Conversation, as the caller's header says."""
    trace_id: str | None = None
    """W3C trace id."""
    span_id: str | None = None
    """W3C span id."""
    route: str
    """Route of the gateway: the model name the caller used."""
    route_tier: str | None = None
    """Tier that was chosen."""
    decision_id: str | None = None
    """The decision that chose it."""
    decision: RouteDecision | None = None
    """That decision, on the operation's first attempt only."""
    attempt_reason: str | None = None
    """Why this attempt is made where it is not the first: `disagreement`, `format`, `refusal`, `upstream_error`, …"""
    provider: str
    """Provider of the upstream."""
    api: str
    """`chat` or `embeddings`."""
    request_model: str
    """The model asked of the upstream."""
    deployment_id: str
    """The upstream's name in the configuration."""
    replica_id: str
    """The replica's host:port."""
    engine: str | None = None
    """`vllm`, `llama.cpp`, … for a self-hosted upstream."""
    billing_account: str | None = None
    """Account the provider bills."""
    service_tier: str | None = None
    """Service tier asked for."""
    stream: bool
    """Whether the answer is streamed."""
    started_at_us: int
    """When the attempt starts, µs UTC."""
    input_tokens_estimate: int
    """Upper estimate of the input, from the request's size."""
    output_tokens_limit: int
    """The most the answer may have, by request and configuration."""
    reserved_usd_pico: int
    """What was reserved of the budgets for it, 10⁻¹² USD."""
    cache_hit: bool = False
    """Whether it is answered from the cache: nothing is sent and nothing spent."""


class TextsAt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the texts of an attempt lie, beside the outbox's segments."""

    file: int
    """Number of the file."""
    at: int
    """Its first byte there."""
    size_bytes: int
    """How long they are."""
    crc: int
    """Their CRC-32: what does not match was lost, and is left out."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What came of an attempt. Exactly one follows each intent, from the gateway or from whoever finds it orphaned."""

    event_id: str
    """The intent's."""
    http_status: int | None = None
    """Status of the upstream's reply; None if none came."""
    reply: msgspec.Raw | None = None
    """JSON object: the upstream's reply without its texts (id, object, created, model, usage, service_tier, finish
    reasons, error). For a stream, the same folded into one completion."""
    first_token_at_us: int | None = None
    """First token seen, µs UTC."""
    ended_at_us: int | None = None
    """Last byte seen, µs UTC."""
    token_times_us: tuple[int, ...] = ()
    """Instants of the first 64 chunks, µs UTC."""
    timings_us: dict[str, int] = {}
    """Durations measured here: `admit`, `guard`, `cache`, `route`, `network`, …, `total`."""
    aborted: bool = False
    """Whether the call was broken off before its end."""
    error_type: str | None = None
    """Why nothing usable came back, such as `upstream_connect_timeout`."""
    output_chunks: int = 0
    """Content chunks that were seen, for an estimate where the upstream reports no usage."""
    served: bool | None = None
    """Whether this is the answer the caller gets, where several attempts' answers were compared; None elsewhere."""
    input_tokens_seen: int | None = None
    """What another upstream counted of the same input, for an estimate where this one was ended before it could."""
    texts: TextsAt | None = None
    """What was asked and answered, where the tenant allows that it is kept; None elsewhere."""


class OutboxFullError(Exception):
    """The outbox takes no more (full, or its disk is): the call must be refused before inference."""


class Accounting(Protocol):
    """Where intents and outcomes go."""

    async def intend(self, intent: Intent) -> None:
        """Returns once the intent is on disk (group commit). Raises OutboxFullError."""

    def settle(self, intent: Intent, outcome: Outcome) -> int | None:
        """Takes the outcome, frees the reservation; the call's known cost in 10⁻¹² USD, None where not wholly known.

        Never fails and never waits: the outbox keeps room for the outcome of every intent it took.
        """

    def record(self, intent: Intent, outcome: Outcome) -> None:
        """Takes an answer of the cache: no upstream, no reservation, so nobody waits for the disk.

        Raises OutboxFullError.
        """


class Admission(Protocol):
    """Who may send what."""

    def admit(self, *, authorization: bytes | None, api: str, model: str, feature: str | None) -> Admitted | Refusal:
        """By key: known, not expired, allowed this API and model, within its request rate.

        API `models` is the list of models: every key may see it, whatever it may call.
        """

    def reserve(self, intent: Intent) -> int | Refusal:
        """Takes the most this attempt can cost from every budget it counts against, and its tokens from the rates.

        The amount reserved, 10⁻¹² USD. To be settled exactly once, or released where nothing was sent.
        """

    def release(self, intent: Intent) -> None:
        """Gives back the reservation of an attempt that never reached an upstream."""
