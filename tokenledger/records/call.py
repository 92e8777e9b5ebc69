"""One model call, normalised: its keys, who asked, what ran, when, how much was used."""

from typing import Any

import msgspec

from tokenledger.records.decision import RouteDecision


class Timings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Durations measured in one process, in µs; None is not measured. They are subtracted only from each other."""

    admit_us: int | None = None
    """Authentication, limits and budget checks."""
    guard_us: int | None = None
    """Screening of prompt and answer."""
    cache_us: int | None = None
    """Cache look-up."""
    route_us: int | None = None
    """Choosing a model."""
    retrieve_us: int | None = None
    """Retrieval for the prompt."""
    network_us: int | None = None
    """On the wire."""
    queue_us: int | None = None
    """Waiting in the engine before prefill."""
    prefill_us: int | None = None
    """Reading the prompt, up to the first token."""
    decode_us: int | None = None
    """From the first token to the last."""
    total_us: int | None = None
    """The whole call as the measuring process saw it, where it says so itself."""


class ModelShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The part of one call's usage that another model than the call's own consumed (Anthropic `usage.iterations`)."""

    model: str
    """The model that consumed it."""
    usage: dict[str, int]
    """Meter → quantity, a part of the call's usage."""
    kind: str = ""
    """What the part was, in the provider's word: `compaction`, `advisor_message`, `fallback`."""


class Call(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One model call. Absent fields were not stated; a count of 0 was stated."""

    # Readers build a call by place: what is seldom there comes last, and costs nothing where it is not.

    # What every call has
    tenant_id: str
    """The tenant, by credential."""
    event_id: str
    """CloudEvents id; minted by the reader, or the payload hash, where the record has none."""
    event_key: str
    """Key by event: source and id. Survives re-delivery."""
    provider: str
    """OpenTelemetry `gen_ai.provider.name`."""
    usage: dict[str, int]
    """Meter → quantity in the meter's base unit; disjoint leaves. Empty where none was reported."""
    started_at_us: int
    """Event time, µs UTC: start, else the provider's `created`, else `ce_time`, else the log's append time."""
    event_time_source: str
    """Which of these it is: `started_at`, `created`, `ce_time` or `append`."""

    # What nearly every call has
    ce_source: str = ""
    """CloudEvents source."""
    received_at_us: int | None = None
    """When the log took the record, µs UTC."""
    response_id: str | None = None
    """The provider's own id of the reply."""
    response_key: str | None = None
    """Key by response: provider and response id, where that provider's ids are known to be unique."""
    project: str | None = None
    """Project."""
    feature: str | None = None
    """Product feature the call served."""
    api: str | None = None
    """`chat`, `responses`, `messages`, `embeddings`, …"""
    request_model: str | None = None
    """The model that was asked for."""
    response_model: str | None = None
    """The model the reply names."""
    service_tier_served: str | None = None
    """As the reply says: `default`, `flex`, `priority`, …"""
    stream: bool | None = None
    """Whether the answer was streamed."""
    status: str = "ok"
    """`ok`, `error`, `aborted` or `in_progress`."""
    finish_reason: str | None = None
    """The provider's word for why it stopped."""
    input_tokens: int | None = None
    """Inclusive input total: fresh, cached and written tokens of every modality, tool prompts too."""
    output_tokens: int | None = None
    """Inclusive output total: reasoning included."""
    usage_source: str = "none"
    """`reported`, `counted`, `estimated` or `none`."""
    usage_reading: str = ""
    """The convention assumed when the counts were read, such as `openai.chat` or `anthropic.messages`."""
    explicit_leaves: int = 0
    """Number of leaves read from a field of their own rather than by subtraction."""
    raw_usage: dict[str, Any] | None = None
    """The provider's own usage object, without texts."""
    first_token_at_us: int | None = None
    """First token seen by the caller, µs UTC."""
    ended_at_us: int | None = None
    """Last byte seen by the caller, µs UTC."""
    anomalies: tuple[str, ...] = ()
    """What was odd about the record: members of `Anomaly`."""

    # Its place among others
    container_id: str | None = None
    """Id of the batch file or export this call was split from."""
    container_part: int | None = None
    """Position in that container, from 0."""
    operation_id: str | None = None
    """What the caller wanted done; retries and hedges share it."""
    attempt_no: int | None = None
    """Number of this attempt of the operation, from 1."""
    attempt_role: str | None = None
    """`primary`, `retry`, `fallback`, `hedge`, `verify` or `escalation`."""
    attempt_reason: str | None = None
    """Why it was made where it is not the first: `disagreement`, `format`, `refusal`, `upstream_error`, …"""
    served: bool | None = None
    """Whether the caller got this answer, where the answers of several attempts were compared; None elsewhere."""
    revision: int = 0
    """Raised by a producer that restates an earlier record; the greatest wins."""
    ce_sequence: int | None = None
    """Producer's sequence number within its source."""

    # Who asked
    environment: str | None = None
    """`production`, `staging`, …"""
    cost_centre: str | None = None
    """Cost centre."""
    user_id: str | None = None
    """End user, opaque."""
    api_key_id: str | None = None
    """Id of the API key, never the key."""
    session_id: str | None = None
    """Conversation or session."""
    tags: dict[str, str] | None = None
    """At most 16 free labels."""

    # What ran
    host_provider: str | None = None
    """Who runs the model, where that is not the provider."""
    billing_account: str | None = None
    """Account the provider bills."""
    commitment_id: str | None = None
    """Commitment or provisioned capacity the call drew on."""
    deployment_id: str | None = None
    """Deployment name, where it differs from the model."""
    replica_id: str | None = None
    """Engine replica."""
    engine: str | None = None
    """`vllm`, `llama.cpp`, `ollama`, … for self-hosted models."""
    service_tier_requested: str | None = None
    """As asked."""
    processing: str | None = None
    """`batch` for asynchronous batches; None is the synchronous API."""
    speed: str | None = None
    """`fast` where the provider sells speed apart from tier."""
    region: str | None = None
    """Region or geography profile that served, such as `us` or `eu-west-1`."""
    data_region: str | None = None
    """Where data had to stay (residency), such as `us`."""
    route: str | None = None
    """Route of the gateway."""
    route_tier: str | None = None
    """Tier the router chose."""
    decision_id: str | None = None
    """The router's decision."""
    decision: RouteDecision | None = None
    """That decision itself, on the operation's first attempt only."""
    prompt_id: str | None = None
    """Prompt template."""
    prompt_version: str | None = None
    """Its version."""
    trace_id: str | None = None
    """W3C trace id."""
    span_id: str | None = None
    """W3C span id."""

    # How it went
    http_status: int | None = None
    """HTTP status."""
    error_type: str | None = None
    """The provider's error type or code."""
    cache_hit: bool | None = None
    """Answered from the gateway's own cache; the provider was not called."""

    # How much
    shares: tuple[ModelShare, ...] = ()
    """Parts of `usage` that other models consumed."""
    reading_version: int = 1
    """Version of that reading; raised when a misreading is mended."""
    billed_usd_pico: int | None = None
    """What the provider's own body says it billed, in 10⁻¹² USD."""
    claimed_usd_pico: int | None = None
    """What the producer claims it cost, in 10⁻¹² USD; compared, never charged."""
    kv_token_us: int | None = None
    """KV-cache occupancy of a self-hosted call: tokens × µs."""

    # When, in detail
    token_times_us: tuple[int, ...] = ()
    """Instants of the stream's chunks, µs UTC; at most 64 are kept."""
    timings: Timings | None = None
    """Durations that were measured."""
