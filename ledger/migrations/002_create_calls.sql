-- The winning record of every call, one wide row, partitioned by the month the call is charged to.
-- Fixed-width columns stand first: rows are smaller without padding between them.

CREATE TABLE calls (
    call_id bigint NOT NULL,
    charged_at_us bigint NOT NULL,
    posting_id bigint NOT NULL,
    revision bigint NOT NULL,
    reading_version bigint NOT NULL,
    explicit_leaves bigint NOT NULL,
    started_at_us bigint NOT NULL,
    known_cost_usd_pico bigint NOT NULL,
    partition bigint NOT NULL,
    "offset" bigint NOT NULL,
    append_at_us bigint NOT NULL,
    container_part bigint,
    attempt_no bigint,
    ce_sequence bigint,
    http_status bigint,
    input_tokens bigint,
    output_tokens bigint,
    billed_usd_pico bigint,
    claimed_usd_pico bigint,
    kv_token_us bigint,
    received_at_us bigint,
    first_token_at_us bigint,
    ended_at_us bigint,
    cost_usd_pico bigint,
    computed_usd_pico bigint,
    chargeable_usd_pico bigint,
    total_us bigint,
    ttft_us bigint,
    tpot_us bigint,
    admit_us bigint,
    guard_us bigint,
    cache_us bigint,
    route_us bigint,
    retrieve_us bigint,
    network_us bigint,
    queue_us bigint,
    prefill_us bigint,
    first_token_wait_us bigint,
    decode_us bigint,
    unattributed_us bigint,
    dim_no integer NOT NULL,
    id_reuse boolean NOT NULL,
    stream boolean,
    cache_hit boolean,
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    event_key text NOT NULL,
    ce_source text NOT NULL,
    provider text NOT NULL,
    status text NOT NULL,
    usage jsonb NOT NULL,
    usage_source text NOT NULL,
    usage_reading text NOT NULL,
    event_time_source text NOT NULL,
    price_status text NOT NULL,
    book_version text NOT NULL,
    fingerprint bytea NOT NULL,
    rank bytea NOT NULL,
    topic text NOT NULL,
    code_version text NOT NULL,
    response_key text,
    response_id text,
    container_id text,
    operation_id text,
    attempt_role text,
    environment text,
    project text,
    feature text,
    cost_centre text,
    user_id text,
    api_key_id text,
    session_id text,
    tags jsonb,
    api text,
    host_provider text,
    billing_account text,
    commitment_id text,
    request_model text,
    response_model text,
    deployment_id text,
    replica_id text,
    engine text,
    service_tier_requested text,
    service_tier_served text,
    processing text,
    speed text,
    region text,
    data_region text,
    route text,
    route_tier text,
    decision_id text,
    prompt_id text,
    prompt_version text,
    trace_id text,
    span_id text,
    finish_reason text,
    error_type text,
    shares jsonb,
    raw_usage json,
    token_times_us bigint[],
    timings jsonb,
    reading_anomalies text[],
    priced_provider text,
    priced_model text,
    unpriced_meters text[],
    rate_fallbacks text[],
    anomalies text[],
    PRIMARY KEY (call_id, charged_at_us)
) PARTITION BY RANGE (charged_at_us);
COMMENT ON TABLE calls IS 'One model call: the record that counts, as people read it.';
COMMENT ON COLUMN calls.call_id IS 'Number of the call in this ledger.';
COMMENT ON COLUMN calls.charged_at_us IS 'When the call is charged, µs UTC: its event time, or the append time where that lies outside the accepted range.';
COMMENT ON COLUMN calls.posting_id IS 'The posting that charges it now.';
COMMENT ON COLUMN calls.dim_no IS 'Its dimensions in the roll-ups.';
COMMENT ON COLUMN calls.id_reuse IS 'Whether another reply came under one of its event keys.';
COMMENT ON COLUMN calls.revision IS 'Raised by a producer that restates an earlier record; the greatest wins.';
COMMENT ON COLUMN calls.reading_version IS 'Version of that reading; raised when a misreading is mended.';
COMMENT ON COLUMN calls.explicit_leaves IS 'Number of leaves read from a field of their own rather than by subtraction.';
COMMENT ON COLUMN calls.started_at_us IS 'Event time, µs UTC: start, else the provider''s `created`, else `ce_time`, else the log''s append time.';
COMMENT ON COLUMN calls.known_cost_usd_pico IS 'Sum of the lines, 10⁻¹² USD; never None.';
COMMENT ON COLUMN calls.partition IS 'Origin partition.';
COMMENT ON COLUMN calls."offset" IS 'Origin offset.';
COMMENT ON COLUMN calls.append_at_us IS 'When the log took the raw record, µs UTC.';
COMMENT ON COLUMN calls.container_part IS 'Position in that container, from 0.';
COMMENT ON COLUMN calls.attempt_no IS 'Number of this attempt of the operation, from 1.';
COMMENT ON COLUMN calls.ce_sequence IS 'Producer''s sequence number within its source.';
COMMENT ON COLUMN calls.http_status IS 'HTTP status.';
COMMENT ON COLUMN calls.input_tokens IS 'Inclusive input total: fresh, cached and written tokens of every modality, tool prompts too.';
COMMENT ON COLUMN calls.output_tokens IS 'Inclusive output total: reasoning included.';
COMMENT ON COLUMN calls.billed_usd_pico IS 'What the provider''s own body says it billed, in 10⁻¹² USD.';
COMMENT ON COLUMN calls.claimed_usd_pico IS 'What the producer claims it cost, in 10⁻¹² USD; compared, never charged.';
COMMENT ON COLUMN calls.kv_token_us IS 'KV-cache occupancy of a self-hosted call: tokens × µs.';
COMMENT ON COLUMN calls.received_at_us IS 'When the log took the record, µs UTC.';
COMMENT ON COLUMN calls.first_token_at_us IS 'First token seen by the caller, µs UTC.';
COMMENT ON COLUMN calls.ended_at_us IS 'Last byte seen by the caller, µs UTC.';
COMMENT ON COLUMN calls.cost_usd_pico IS 'What the call cost, 10⁻¹² USD; None while it is not wholly known.';
COMMENT ON COLUMN calls.computed_usd_pico IS 'What our book alone says, 10⁻¹² USD; None if incomplete.';
COMMENT ON COLUMN calls.chargeable_usd_pico IS 'What the customer is charged by policy, 10⁻¹² USD.';
COMMENT ON COLUMN calls.total_us IS 'Start to last byte.';
COMMENT ON COLUMN calls.ttft_us IS 'Start to first token.';
COMMENT ON COLUMN calls.tpot_us IS 'Mean time per output token after the first, rounded half to even.';
COMMENT ON COLUMN calls.admit_us IS 'Authentication, limits and budget checks.';
COMMENT ON COLUMN calls.guard_us IS 'Screening.';
COMMENT ON COLUMN calls.cache_us IS 'Cache look-up.';
COMMENT ON COLUMN calls.route_us IS 'Choosing a model.';
COMMENT ON COLUMN calls.retrieve_us IS 'Retrieval.';
COMMENT ON COLUMN calls.network_us IS 'On the wire.';
COMMENT ON COLUMN calls.queue_us IS 'Waiting in the engine.';
COMMENT ON COLUMN calls.prefill_us IS 'Reading the prompt.';
COMMENT ON COLUMN calls.first_token_wait_us IS 'Network, queue and prefill together, where they cannot be told apart.';
COMMENT ON COLUMN calls.decode_us IS 'First token to last.';
COMMENT ON COLUMN calls.unattributed_us IS 'Total minus the parts measured; negative is kept and flagged.';
COMMENT ON COLUMN calls.stream IS 'Whether the answer was streamed.';
COMMENT ON COLUMN calls.cache_hit IS 'Answered from the gateway''s own cache; the provider was not called.';
COMMENT ON COLUMN calls.tenant_id IS 'The tenant, by credential.';
COMMENT ON COLUMN calls.event_id IS 'CloudEvents id; minted by the reader, or the payload hash, where the record has none.';
COMMENT ON COLUMN calls.event_key IS 'Key by event: source and id. Survives re-delivery.';
COMMENT ON COLUMN calls.ce_source IS 'CloudEvents source.';
COMMENT ON COLUMN calls.provider IS 'OpenTelemetry `gen_ai.provider.name`.';
COMMENT ON COLUMN calls.status IS '`ok`, `error`, `aborted` or `in_progress`.';
COMMENT ON COLUMN calls.usage IS 'Meter → quantity in the meter''s base unit; disjoint leaves. Empty where none was reported.';
COMMENT ON COLUMN calls.usage_source IS '`reported`, `counted`, `estimated` or `none`.';
COMMENT ON COLUMN calls.usage_reading IS 'The convention assumed when the counts were read, such as `openai.chat` or `anthropic.messages`.';
COMMENT ON COLUMN calls.event_time_source IS 'Which of these it is: `started_at`, `created`, `ce_time` or `append`.';
COMMENT ON COLUMN calls.price_status IS '`priced`, `provider_billed`, `not_billable`, `unpriced`, `partly_priced`, `unmetered` or `self_hosted`.';
COMMENT ON COLUMN calls.book_version IS 'Hash of the price book.';
COMMENT ON COLUMN calls.fingerprint IS 'Hash of the facts that move money, time or attribution; equal means duplicate. 32 hex digits.';
COMMENT ON COLUMN calls.rank IS 'Hex text whose order decides which record of one call counts; the greatest wins.';
COMMENT ON COLUMN calls.topic IS 'Origin topic of the raw record; empty for a file.';
COMMENT ON COLUMN calls.code_version IS 'Version of the code that priced it.';
COMMENT ON COLUMN calls.response_key IS 'Key by response: provider and response id, where that provider''s ids are known to be unique.';
COMMENT ON COLUMN calls.response_id IS 'The provider''s own id of the reply.';
COMMENT ON COLUMN calls.container_id IS 'Id of the batch file or export this call was split from.';
COMMENT ON COLUMN calls.operation_id IS 'What the caller wanted done; retries and hedges share it.';
COMMENT ON COLUMN calls.attempt_role IS '`primary`, `retry`, `hedge`, `verify` or `escalation`.';
COMMENT ON COLUMN calls.environment IS '`production`, `staging`, …';
COMMENT ON COLUMN calls.project IS 'Project.';
COMMENT ON COLUMN calls.feature IS 'Product feature the call served.';
COMMENT ON COLUMN calls.cost_centre IS 'Cost centre.';
COMMENT ON COLUMN calls.user_id IS 'End user, opaque.';
COMMENT ON COLUMN calls.api_key_id IS 'Id of the API key, never the key.';
COMMENT ON COLUMN calls.session_id IS 'Conversation or session.';
COMMENT ON COLUMN calls.tags IS 'At most 16 free labels.';
COMMENT ON COLUMN calls.api IS '`chat`, `responses`, `messages`, `embeddings`, …';
COMMENT ON COLUMN calls.host_provider IS 'Who runs the model, where that is not the provider.';
COMMENT ON COLUMN calls.billing_account IS 'Account the provider bills.';
COMMENT ON COLUMN calls.commitment_id IS 'Commitment or provisioned capacity the call drew on.';
COMMENT ON COLUMN calls.request_model IS 'The model that was asked for.';
COMMENT ON COLUMN calls.response_model IS 'The model the reply names.';
COMMENT ON COLUMN calls.deployment_id IS 'Deployment name, where it differs from the model.';
COMMENT ON COLUMN calls.replica_id IS 'Engine replica.';
COMMENT ON COLUMN calls.engine IS '`vllm`, `llama.cpp`, `ollama`, … for self-hosted models.';
COMMENT ON COLUMN calls.service_tier_requested IS 'As asked.';
COMMENT ON COLUMN calls.service_tier_served IS 'As the reply says: `default`, `flex`, `priority`, …';
COMMENT ON COLUMN calls.processing IS '`batch` for asynchronous batches; None is the synchronous API.';
COMMENT ON COLUMN calls.speed IS '`fast` where the provider sells speed apart from tier.';
COMMENT ON COLUMN calls.region IS 'Region or geography profile that served, such as `us` or `eu-west-1`.';
COMMENT ON COLUMN calls.data_region IS 'Where data had to stay (residency), such as `us`.';
COMMENT ON COLUMN calls.route IS 'Route of the gateway.';
COMMENT ON COLUMN calls.route_tier IS 'Tier the router chose.';
COMMENT ON COLUMN calls.decision_id IS 'The router''s decision.';
COMMENT ON COLUMN calls.prompt_id IS 'Prompt template.';
COMMENT ON COLUMN calls.prompt_version IS 'Its version.';
COMMENT ON COLUMN calls.trace_id IS 'W3C trace id.';
COMMENT ON COLUMN calls.span_id IS 'W3C span id.';
COMMENT ON COLUMN calls.finish_reason IS 'The provider''s word for why it stopped.';
COMMENT ON COLUMN calls.error_type IS 'The provider''s error type or code.';
COMMENT ON COLUMN calls.shares IS 'Parts of `usage` that other models consumed.';
COMMENT ON COLUMN calls.raw_usage IS 'The provider''s own usage object, without texts.';
COMMENT ON COLUMN calls.token_times_us IS 'Instants of the stream''s chunks, µs UTC; at most 64 are kept.';
COMMENT ON COLUMN calls.timings IS 'Durations that were measured.';
COMMENT ON COLUMN calls.reading_anomalies IS 'What was odd about the record: members of `Anomaly`.';
COMMENT ON COLUMN calls.priced_provider IS 'Provider whose price was used, or would be.';
COMMENT ON COLUMN calls.priced_model IS 'Model whose price was used, or would be, by the book''s name.';
COMMENT ON COLUMN calls.unpriced_meters IS 'Meters of the usage for which no rate was found.';
COMMENT ON COLUMN calls.rate_fallbacks IS 'Every condition that was dropped and every stand-in meter that was used, such as `service_tier=flex`.';
COMMENT ON COLUMN calls.anomalies IS 'Everything odd about the call: those of reading, pricing and latency together.';

-- Time ranges without a B-tree: rows arrive nearly in order.
CREATE INDEX calls_charged_at ON calls USING brin (charged_at_us) WITH (autosummarize = on);
