-- What the writer keeps beside `calls`: keys, the append-only books, roll-ups, and which raw offsets were seen.

CREATE TYPE subject_kind AS ENUM ('call', 'gpu_window', 'commitment', 'invoice', 'manual');
CREATE TYPE posting_cause AS ENUM ('charge', 'reversal', 'reprice', 'reread', 'correction');
CREATE TYPE charge_category AS ENUM ('usage', 'purchase', 'tax', 'credit', 'adjustment');
CREATE TYPE charge_class AS ENUM ('correction');

-- Identity. A key is a hash, so ranges of it are as even as hash partitions, and the writer can address them itself.
CREATE TABLE call_keys (
    key uuid PRIMARY KEY,
    call_id bigint NOT NULL,
    charged_at_us bigint NOT NULL
) PARTITION BY RANGE (key);
COMMENT ON TABLE call_keys IS 'Which call a key belongs to. It holds uniqueness for the partitioned tables.';
COMMENT ON COLUMN call_keys.key IS 'First 128 bits of SHA-256 of tenant, kind (e event, r response) and key, joined by U+001F.';
COMMENT ON COLUMN call_keys.call_id IS 'The call.';
COMMENT ON COLUMN call_keys.charged_at_us IS 'Where in `calls` to look first; a superseded call may have moved.';
DO $$
DECLARE
    edge text := '0123456789abcdef';
BEGIN
    FOR i IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE call_keys_%s PARTITION OF call_keys FOR VALUES FROM (%s) TO (%s)',
            i,
            CASE i WHEN 0 THEN 'MINVALUE' ELSE quote_literal(rpad(substr(edge, 2 * i + 1, 1), 32, '0')) END,
            CASE i WHEN 7 THEN 'MAXVALUE' ELSE quote_literal(rpad(substr(edge, 2 * i + 3, 1), 32, '0')) END
        );
    END LOOP;
END
$$;

-- Interned texts: what thousands of rows repeat is written once. There is one writer, so it gives the numbers.
CREATE TABLE dimensions (
    dim_no integer PRIMARY KEY,
    tenant_id text NOT NULL,
    environment text,
    project text,
    feature text,
    cost_centre text,
    api_key_id text,
    provider text NOT NULL,
    api text,
    model text,
    service_tier_served text,
    processing text
);
COMMENT ON TABLE dimensions IS 'Every combination of dimensions the roll-ups know.';
COMMENT ON COLUMN dimensions.dim_no IS 'Its number.';
COMMENT ON COLUMN dimensions.tenant_id IS 'The tenant, by credential.';
COMMENT ON COLUMN dimensions.environment IS '`production`, `staging`, …';
COMMENT ON COLUMN dimensions.project IS 'Project.';
COMMENT ON COLUMN dimensions.feature IS 'Product feature the call served.';
COMMENT ON COLUMN dimensions.cost_centre IS 'Cost centre.';
COMMENT ON COLUMN dimensions.api_key_id IS 'Id of the API key, never the key.';
COMMENT ON COLUMN dimensions.provider IS 'OpenTelemetry `gen_ai.provider.name`.';
COMMENT ON COLUMN dimensions.api IS '`chat`, `responses`, `messages`, `embeddings`, …';
COMMENT ON COLUMN dimensions.model IS 'The priced model; where there is none, the model the reply names, else the one asked for.';
COMMENT ON COLUMN dimensions.service_tier_served IS 'Service tier that served.';
COMMENT ON COLUMN dimensions.processing IS '`batch`, or null for the synchronous API.';

CREATE TABLE rates (
    rate_no integer PRIMARY KEY,
    tenant_id text NOT NULL,
    meter text NOT NULL,
    model text,
    price_id text NOT NULL,
    list_pico bigint NOT NULL,
    list_per bigint NOT NULL,
    contracted_pico bigint NOT NULL,
    contracted_per bigint NOT NULL,
    matched text NOT NULL
);
COMMENT ON TABLE rates IS 'Every rate a line was priced by, per tenant: contracts are nobody else''s business.';
COMMENT ON COLUMN rates.rate_no IS 'Its number.';
COMMENT ON COLUMN rates.tenant_id IS 'The tenant.';
COMMENT ON COLUMN rates.meter IS 'Meter, or `adjustment.provider_billed`.';
COMMENT ON COLUMN rates.model IS 'The priced model of the line, where it is not the call''s.';
COMMENT ON COLUMN rates.price_id IS 'Hash of everything in the rate; empty for an adjustment.';
COMMENT ON COLUMN rates.list_pico IS 'List rate: pico-USD per `list_per` units.';
COMMENT ON COLUMN rates.list_per IS 'Units the list rate is for.';
COMMENT ON COLUMN rates.contracted_pico IS 'Contracted rate: pico-USD per `contracted_per` units.';
COMMENT ON COLUMN rates.contracted_per IS 'Units the contracted rate is for.';
COMMENT ON COLUMN rates.matched IS 'What matched, in words.';

CREATE TABLE book_versions (
    book_no integer PRIMARY KEY,
    book_version text NOT NULL UNIQUE
);
COMMENT ON TABLE book_versions IS 'Every price book a posting was made by.';
COMMENT ON COLUMN book_versions.book_no IS 'Its number.';
COMMENT ON COLUMN book_versions.book_version IS 'Hash of the price book.';

-- The books. A posting carries what the roll-ups need of its call, signed, so that they follow from it alone.
CREATE TABLE postings (
    posting_id bigint NOT NULL,
    posted_at_us bigint NOT NULL,
    subject_id bigint NOT NULL,
    charged_at_us bigint NOT NULL,
    reverses_posting_id bigint,
    origin_offset bigint,
    origin_partition integer,
    dim_no integer NOT NULL,
    book_no integer NOT NULL,
    subject_kind subject_kind NOT NULL,
    cause posting_cause NOT NULL,
    charge_category charge_category NOT NULL,
    charge_class charge_class,
    calls smallint NOT NULL,
    incomplete_calls smallint NOT NULL,
    total_bucket smallint,
    ttft_bucket smallint,
    tpot_bucket smallint,
    first_token_wait_bucket smallint,
    queue_bucket smallint,
    prefill_bucket smallint,
    decode_bucket smallint,
    PRIMARY KEY (posting_id, posted_at_us)
) PARTITION BY RANGE (posted_at_us);
CREATE INDEX postings_posted_at ON postings USING brin (posted_at_us) WITH (autosummarize = on);
COMMENT ON TABLE postings IS 'Append-only header of every entry in the books; its lines carry the amounts.';
COMMENT ON COLUMN postings.posting_id IS 'Number of the posting.';
COMMENT ON COLUMN postings.posted_at_us IS 'When it was posted, µs UTC; also the key of its batch.';
COMMENT ON COLUMN postings.subject_id IS 'What it is about: `calls.call_id` for a call.';
COMMENT ON COLUMN postings.charged_at_us IS 'The instant it is charged to, µs UTC: its month is the charge period, its quarter-hour the roll-up bucket.';
COMMENT ON COLUMN postings.reverses_posting_id IS 'The posting it takes back.';
COMMENT ON COLUMN postings.origin_offset IS 'Origin offset of the record it was made from.';
COMMENT ON COLUMN postings.origin_partition IS 'Origin partition of that record.';
COMMENT ON COLUMN postings.dim_no IS 'Its dimensions.';
COMMENT ON COLUMN postings.book_no IS 'The price book it was made by.';
COMMENT ON COLUMN postings.subject_kind IS 'What kind of thing it is about.';
COMMENT ON COLUMN postings.cause IS 'Why it was made.';
COMMENT ON COLUMN postings.charge_category IS 'FOCUS ChargeCategory.';
COMMENT ON COLUMN postings.charge_class IS 'FOCUS ChargeClass: `correction` for a change to a closed period, else null.';
COMMENT ON COLUMN postings.calls IS '1 for a charge, -1 for a reversal, 0 where the count of calls does not change.';
COMMENT ON COLUMN postings.incomplete_calls IS 'The same, if the call''s cost is not wholly known; else 0.';
COMMENT ON COLUMN postings.total_bucket IS 'Histogram bucket of the total duration.';
COMMENT ON COLUMN postings.ttft_bucket IS 'Histogram bucket of the time to first token.';
COMMENT ON COLUMN postings.tpot_bucket IS 'Histogram bucket of the time per output token.';
COMMENT ON COLUMN postings.first_token_wait_bucket IS 'Histogram bucket of network, queue and prefill together.';
COMMENT ON COLUMN postings.queue_bucket IS 'Histogram bucket of the wait in the engine.';
COMMENT ON COLUMN postings.prefill_bucket IS 'Histogram bucket of prefill.';
COMMENT ON COLUMN postings.decode_bucket IS 'Histogram bucket of decoding.';

CREATE TABLE lines (
    posting_id bigint NOT NULL,
    posted_at_us bigint NOT NULL,
    quantity bigint NOT NULL,
    amount_usd_pico bigint NOT NULL,
    list_amount_usd_pico bigint NOT NULL,
    bucket_no integer NOT NULL,
    dim_no integer NOT NULL,
    rate_no integer NOT NULL,
    line_no smallint NOT NULL
) PARTITION BY RANGE (posted_at_us);
CREATE INDEX lines_posting ON lines (posting_id);
CREATE INDEX lines_posted_at ON lines USING brin (posted_at_us) WITH (autosummarize = on);
COMMENT ON TABLE lines IS 'Append-only amounts: one meter of one posting. Σ lines = Σ calls = Σ roll-ups.';
COMMENT ON COLUMN lines.posting_id IS 'Its posting.';
COMMENT ON COLUMN lines.posted_at_us IS 'When it was posted, µs UTC; also the key of its batch.';
COMMENT ON COLUMN lines.quantity IS 'Quantity in the meter''s base unit; negative in a reversal.';
COMMENT ON COLUMN lines.amount_usd_pico IS 'Contracted amount, 10⁻¹² USD.';
COMMENT ON COLUMN lines.list_amount_usd_pico IS 'The same at list price, 10⁻¹² USD.';
COMMENT ON COLUMN lines.bucket_no IS 'Quarter-hour it is charged to: number since 1970, UTC.';
COMMENT ON COLUMN lines.dim_no IS 'Its dimensions.';
COMMENT ON COLUMN lines.rate_no IS 'The meter and rate it was priced by.';
COMMENT ON COLUMN lines.line_no IS 'Position in the posting, from 0.';

CREATE TABLE witnesses (
    call_id bigint NOT NULL,
    fingerprint bytea NOT NULL,
    tenant_id text NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (call_id, fingerprint)
);
COMMENT ON TABLE witnesses IS 'Records of a call that count less than its winner; any of them may be elected again.';
COMMENT ON COLUMN witnesses.call_id IS 'The call.';
COMMENT ON COLUMN witnesses.fingerprint IS 'Hash of the facts of the record.';
COMMENT ON COLUMN witnesses.tenant_id IS 'The tenant, by credential.';
COMMENT ON COLUMN witnesses.record IS 'The whole record, a PricedCall.';

-- Roll-ups by quarter-hour, exact for any time zone's day.
CREATE TABLE rollups_15m (
    bucket_no integer NOT NULL,
    dim_no integer NOT NULL,
    meter text NOT NULL,
    calls bigint NOT NULL,
    incomplete_calls bigint NOT NULL,
    quantity numeric(38, 0) NOT NULL,
    amount_usd_pico numeric(38, 0) NOT NULL,
    list_amount_usd_pico numeric(38, 0) NOT NULL,
    PRIMARY KEY (bucket_no, dim_no, meter)
);
COMMENT ON TABLE rollups_15m IS 'Sums per quarter-hour, dimensions and meter, up to the last compaction.';
COMMENT ON COLUMN rollups_15m.bucket_no IS 'Quarter-hour: number since 1970, UTC.';
COMMENT ON COLUMN rollups_15m.dim_no IS 'The dimensions.';
COMMENT ON COLUMN rollups_15m.meter IS 'The meter; empty in the row that counts calls.';
COMMENT ON COLUMN rollups_15m.calls IS 'Calls, in the row without meter; else 0.';
COMMENT ON COLUMN rollups_15m.incomplete_calls IS 'Calls whose cost is not wholly known, in the row without meter; else 0.';
COMMENT ON COLUMN rollups_15m.quantity IS 'Sum of quantities in the meter''s base unit.';
COMMENT ON COLUMN rollups_15m.amount_usd_pico IS 'Sum of contracted amounts, 10⁻¹² USD.';
COMMENT ON COLUMN rollups_15m.list_amount_usd_pico IS 'Sum of list amounts, 10⁻¹² USD.';

CREATE TABLE latency_15m (
    bucket_no integer NOT NULL,
    dim_no integer NOT NULL,
    metric text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (bucket_no, dim_no, metric, bucket)
);
COMMENT ON TABLE latency_15m IS 'Histograms of durations per quarter-hour and dimensions, up to the last compaction.';
COMMENT ON COLUMN latency_15m.bucket_no IS 'Quarter-hour: number since 1970, UTC.';
COMMENT ON COLUMN latency_15m.dim_no IS 'The dimensions.';
COMMENT ON COLUMN latency_15m.metric IS 'Which duration: `total`, `ttft`, `tpot`, `first_token_wait`, `queue`, `prefill` or `decode`.';
COMMENT ON COLUMN latency_15m.bucket IS 'Histogram bucket: 0 is up to 1 µs, i is (1.02^(i-1), 1.02^i] µs.';
COMMENT ON COLUMN latency_15m.n IS 'Calls in it.';

CREATE TABLE compaction (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    posted_at_us bigint NOT NULL
);
INSERT INTO compaction (posted_at_us) VALUES (0);
COMMENT ON TABLE compaction IS 'How far postings are folded into the roll-ups: one row.';
COMMENT ON COLUMN compaction.one IS 'There is one row.';
COMMENT ON COLUMN compaction.posted_at_us IS 'The newest batch that is folded, µs UTC.';

-- Exactly once: what was read, what was seen, in the transaction that wrote the rest.
CREATE TABLE batches (
    posted_at_us bigint PRIMARY KEY,
    next_id bigint NOT NULL,
    records integer NOT NULL,
    code_version text NOT NULL
);
COMMENT ON TABLE batches IS 'One row a transaction of the writer.';
COMMENT ON COLUMN batches.posted_at_us IS 'When it was posted, µs UTC; strictly rising.';
COMMENT ON COLUMN batches.next_id IS 'The first call or posting number that is free after it.';
COMMENT ON COLUMN batches.records IS 'Records it took from the topics.';
COMMENT ON COLUMN batches.code_version IS 'Version of the writer.';

CREATE TABLE offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    cluster_id text NOT NULL DEFAULT '',
    topic_uuid text NOT NULL DEFAULT '',
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE offsets IS 'Where the writer reads on, per partition of the priced and the rejected topic.';
COMMENT ON COLUMN offsets.topic IS 'Topic.';
COMMENT ON COLUMN offsets.partition IS 'Partition.';
COMMENT ON COLUMN offsets.next_offset IS 'Offset of the next record.';
COMMENT ON COLUMN offsets.cluster_id IS 'Kafka cluster the offset is of; empty where the client cannot tell.';
COMMENT ON COLUMN offsets.topic_uuid IS 'Topic UUID the offset is of; empty where the client cannot tell.';

CREATE TABLE origins (
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    winners bigint NOT NULL DEFAULT 0,
    losers bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    redelivered bigint NOT NULL DEFAULT 0,
    cluster_id text NOT NULL DEFAULT '',
    topic_uuid text NOT NULL DEFAULT '',
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE origins IS 'What became of the raw records, per raw partition.';
COMMENT ON COLUMN origins.topic IS 'Raw topic.';
COMMENT ON COLUMN origins.partition IS 'Raw partition.';
COMMENT ON COLUMN origins.first_offset IS 'Start of the log when the writer first looked.';
COMMENT ON COLUMN origins.winners IS 'Records that count.';
COMMENT ON COLUMN origins.losers IS 'Records kept as witnesses.';
COMMENT ON COLUMN origins.duplicates IS 'Records that repeat another one.';
COMMENT ON COLUMN origins.rejected IS 'Records that could not be understood or stored.';
COMMENT ON COLUMN origins.redelivered IS 'Times an origin came again; not an outcome.';
COMMENT ON COLUMN origins.cluster_id IS 'Kafka cluster the offsets are of; empty where the client cannot tell.';
COMMENT ON COLUMN origins.topic_uuid IS 'Topic UUID the offsets are of; empty where the client cannot tell.';

CREATE TABLE origin_ranges (
    topic text NOT NULL,
    partition integer NOT NULL,
    chunk_no bigint NOT NULL,
    seen int8multirange NOT NULL,
    PRIMARY KEY (topic, partition, chunk_no)
);
COMMENT ON TABLE origin_ranges IS 'Raw offsets seen, in chunks of 65536 so that holes in one place cost little elsewhere.';
COMMENT ON COLUMN origin_ranges.topic IS 'Raw topic.';
COMMENT ON COLUMN origin_ranges.partition IS 'Raw partition.';
COMMENT ON COLUMN origin_ranges.chunk_no IS 'Offset divided by 65536.';
COMMENT ON COLUMN origin_ranges.seen IS 'The offsets of this chunk that were seen.';

CREATE TABLE rejected (
    kept_topic text NOT NULL,
    kept_partition integer NOT NULL,
    kept_offset bigint NOT NULL,
    reason text NOT NULL,
    field text NOT NULL,
    detail text NOT NULL,
    stage text NOT NULL,
    tenant_id text,
    event_id text,
    topic text NOT NULL,
    partition bigint NOT NULL,
    "offset" bigint NOT NULL,
    append_at_us bigint NOT NULL,
    attempt_no bigint NOT NULL,
    code_version text NOT NULL,
    posted_at_us bigint NOT NULL,
    PRIMARY KEY (kept_topic, kept_partition, kept_offset)
);
COMMENT ON TABLE rejected IS 'Index of the records that could not be understood or stored; their bytes stay on the topic.';
COMMENT ON COLUMN rejected.kept_topic IS 'Topic that keeps the bytes.';
COMMENT ON COLUMN rejected.kept_partition IS 'Partition of that topic.';
COMMENT ON COLUMN rejected.kept_offset IS 'Offset in that partition.';
COMMENT ON COLUMN rejected.reason IS 'Closed enum: what was wrong.';
COMMENT ON COLUMN rejected.field IS 'Path of the offending field in the producer''s record, such as `response.usage.prompt_tokens`.';
COMMENT ON COLUMN rejected.detail IS 'What was found and what would be right; bounded, without texts of the call.';
COMMENT ON COLUMN rejected.stage IS 'The stage that refused it: `decode`, `normalise`, `price` or `store`.';
COMMENT ON COLUMN rejected.tenant_id IS 'Tenant by credential, where it is known.';
COMMENT ON COLUMN rejected.event_id IS 'The CloudEvents id, where it is known.';
COMMENT ON COLUMN rejected.topic IS 'Origin topic.';
COMMENT ON COLUMN rejected.partition IS 'Origin partition.';
COMMENT ON COLUMN rejected."offset" IS 'Origin offset.';
COMMENT ON COLUMN rejected.append_at_us IS 'When the log took the record (µs UTC).';
COMMENT ON COLUMN rejected.attempt_no IS 'How often this record was tried: 1 on first sight, raised by each replay.';
COMMENT ON COLUMN rejected.code_version IS 'Version of the code that refused it.';
COMMENT ON COLUMN rejected.posted_at_us IS 'The batch that noted it, µs UTC.';

-- Configuration, kept by people. Empty until used: the packaged catalogue is a complete book.
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL,
    content_capture boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE tenants IS 'Who may be charged.';
COMMENT ON COLUMN tenants.tenant_id IS 'The tenant, by credential.';
COMMENT ON COLUMN tenants.name IS 'Name for people.';
COMMENT ON COLUMN tenants.content_capture IS 'Whether prompts and answers may be kept.';

CREATE TABLE prices (
    price_id text PRIMARY KEY,
    provider text NOT NULL,
    model text NOT NULL,
    meter text NOT NULL,
    conditions jsonb NOT NULL DEFAULT '{}',
    context_tokens int8range NOT NULL DEFAULT '[0,)',
    pico bigint NOT NULL CHECK (pico >= 0),
    per bigint NOT NULL CHECK (per > 0),
    valid_us int8range NOT NULL,
    known_us int8range NOT NULL
);
COMMENT ON TABLE prices IS 'Own rates, beside the packaged catalogue.';
COMMENT ON COLUMN prices.price_id IS 'Hash of everything in the rate.';
COMMENT ON COLUMN prices.provider IS 'Provider.';
COMMENT ON COLUMN prices.model IS 'Model, by the book''s name.';
COMMENT ON COLUMN prices.meter IS 'Meter.';
COMMENT ON COLUMN prices.conditions IS 'Service tier, processing, region, speed: all must hold.';
COMMENT ON COLUMN prices.context_tokens IS 'Range of the request''s total input.';
COMMENT ON COLUMN prices.pico IS 'Pico-USD per `per` units.';
COMMENT ON COLUMN prices.per IS 'Units the rate is for.';
COMMENT ON COLUMN prices.valid_us IS 'When it applies, µs UTC.';
COMMENT ON COLUMN prices.known_us IS 'When we knew, µs UTC.';

CREATE TABLE contracts (
    contract_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    provider text,
    model text,
    discount_ppm integer NOT NULL CHECK (discount_ppm BETWEEN 0 AND 1000000),
    valid_us int8range NOT NULL,
    known_us int8range NOT NULL
);
COMMENT ON TABLE contracts IS 'Discounts a tenant agreed with a provider.';
COMMENT ON COLUMN contracts.contract_id IS 'The contract.';
COMMENT ON COLUMN contracts.tenant_id IS 'The tenant.';
COMMENT ON COLUMN contracts.provider IS 'Provider; null for all.';
COMMENT ON COLUMN contracts.model IS 'Model; null for all.';
COMMENT ON COLUMN contracts.discount_ppm IS 'Discount in parts per million.';
COMMENT ON COLUMN contracts.valid_us IS 'When it applies, µs UTC.';
COMMENT ON COLUMN contracts.known_us IS 'When we knew, µs UTC.';

CREATE TABLE periods (
    tenant_id text NOT NULL,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    closed_at_us bigint NOT NULL,
    closed_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (tenant_id, month)
);
COMMENT ON TABLE periods IS 'Accounting months that are closed; they change only by a correction, posted now.';
COMMENT ON COLUMN periods.tenant_id IS 'The tenant.';
COMMENT ON COLUMN periods.month IS 'First day of the month.';
COMMENT ON COLUMN periods.closed_at_us IS 'When it was closed, µs UTC.';
COMMENT ON COLUMN periods.closed_by IS 'Who closed it.';

CREATE TABLE audit_log (
    entry_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_by text NOT NULL DEFAULT session_user,
    action text NOT NULL,
    detail jsonb NOT NULL
);
COMMENT ON TABLE audit_log IS 'What people changed.';
COMMENT ON COLUMN audit_log.entry_no IS 'Number of the entry.';
COMMENT ON COLUMN audit_log.done_at IS 'When.';
COMMENT ON COLUMN audit_log.done_by IS 'Who.';
COMMENT ON COLUMN audit_log.action IS 'What.';
COMMENT ON COLUMN audit_log.detail IS 'Before and after.';

CREATE TABLE tenant_grants (
    grantee name NOT NULL,
    tenant_id text NOT NULL,
    PRIMARY KEY (grantee, tenant_id)
);
COMMENT ON TABLE tenant_grants IS 'Which login may read which tenant.';
COMMENT ON COLUMN tenant_grants.grantee IS 'Login role, as in `session_user`.';
COMMENT ON COLUMN tenant_grants.tenant_id IS 'The tenant; `*` for all.';
