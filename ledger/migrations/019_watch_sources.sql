-- What went into the log, by its producers' own numbering, and what is wrong at present. `watcher` reads the log's
-- headers and these books, and writes here; nothing it does can hold the stream up.

CREATE TABLE watch_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE watch_offsets IS 'Where the watcher reads on in the raw topic.';
COMMENT ON COLUMN watch_offsets.topic IS 'Topic.';
COMMENT ON COLUMN watch_offsets.partition IS 'Partition.';
COMMENT ON COLUMN watch_offsets.next_offset IS 'Offset of the next record.';

CREATE TABLE watch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    since_us bigint,
    rejected_posted_at_us bigint NOT NULL DEFAULT 0,
    judged_at_us bigint NOT NULL DEFAULT 0,
    verified_at_us bigint NOT NULL DEFAULT 0
);
INSERT INTO watch DEFAULT VALUES;
COMMENT ON TABLE watch IS 'How far the watcher has got: one row.';
COMMENT ON COLUMN watch.one IS 'There is one row.';
COMMENT ON COLUMN watch.since_us IS 'What was appended before, it may not have seen, µs UTC; 0 where it saw the log from its first record.';
COMMENT ON COLUMN watch.rejected_posted_at_us IS 'Rejected records of batches up to this one are counted, µs UTC.';
COMMENT ON COLUMN watch.judged_at_us IS 'When alerts were last judged, µs UTC.';
COMMENT ON COLUMN watch.verified_at_us IS 'When the ledger''s sums were last compared, µs UTC.';

CREATE TABLE sources (
    ce_source text PRIMARY KEY,
    records bigint NOT NULL,
    first_at_us bigint NOT NULL,
    last_at_us bigint NOT NULL,
    period_at_us bigint NOT NULL,
    pauses_us bigint[] NOT NULL,
    earlier_pauses_us bigint[] NOT NULL,
    retired_at_us bigint
);
COMMENT ON TABLE sources IS 'Who sends records, and how long each is usually quiet.';
COMMENT ON COLUMN sources.ce_source IS 'CloudEvents source, without the epoch where it ends in `/` and the epoch.';
COMMENT ON COLUMN sources.records IS 'Records the watcher has seen of it.';
COMMENT ON COLUMN sources.first_at_us IS 'When the log took the first, µs UTC.';
COMMENT ON COLUMN sources.last_at_us IS 'When the log took the latest, µs UTC.';
COMMENT ON COLUMN sources.period_at_us IS 'When the present period of learning began, µs UTC.';
COMMENT ON COLUMN sources.pauses_us IS 'The two longest pauses of this period, µs.';
COMMENT ON COLUMN sources.earlier_pauses_us IS 'The two longest pauses of the period before, µs.';
COMMENT ON COLUMN sources.retired_at_us IS 'When someone said that it will be quiet for good, µs UTC.';

CREATE TABLE source_epochs (
    ce_source text NOT NULL,
    epoch text NOT NULL,
    seen int8multirange NOT NULL,
    first_no bigint,
    first_id text NOT NULL,
    given_up bigint NOT NULL,
    first_at_us bigint NOT NULL,
    last_at_us bigint NOT NULL,
    settled_no bigint NOT NULL DEFAULT 0,
    settling_no bigint NOT NULL,
    settling_at_us bigint NOT NULL,
    PRIMARY KEY (ce_source, epoch)
);
COMMENT ON TABLE source_epochs IS 'Which numbers (`ce_sequence`) of each epoch of a source arrived.';
COMMENT ON COLUMN source_epochs.ce_source IS 'The source, as in `sources`.';
COMMENT ON COLUMN source_epochs.epoch IS 'As the producer says (`ce_epoch`), such as one start of a process; `~1`, `~2`, … where it says nothing and restarts were guessed.';
COMMENT ON COLUMN source_epochs.seen IS 'The numbers that arrived, and those that were given up.';
COMMENT ON COLUMN source_epochs.first_no IS 'Where the numbers begin; null where the beginning may have been before anyone looked.';
COMMENT ON COLUMN source_epochs.first_id IS 'Event id of the lowest number.';
COMMENT ON COLUMN source_epochs.given_up IS 'Missing numbers that are no longer looked for: there were more gaps than are kept.';
COMMENT ON COLUMN source_epochs.first_at_us IS 'When the log took its first record, µs UTC.';
COMMENT ON COLUMN source_epochs.last_at_us IS 'When the log took its latest, µs UTC.';
COMMENT ON COLUMN source_epochs.settled_no IS 'What is missing below it is late beyond patience: a gap.';
COMMENT ON COLUMN source_epochs.settling_no IS 'The next such bound.';
COMMENT ON COLUMN source_epochs.settling_at_us IS 'When that bound was set, µs UTC.';
CREATE INDEX source_epochs_last ON source_epochs (last_at_us);

CREATE VIEW sequence_gaps WITH (security_invoker = true) AS
SELECT ce_source, epoch, lower(gap) AS first_no, upper(gap) - 1 AS last_no, upper(gap) - lower(gap) AS records,
    last_at_us
FROM source_epochs, unnest(
    int8multirange(int8range(
        least(coalesce(first_no, lower(seen)), settled_no), settled_no
    )) - seen
) AS gap;
COMMENT ON VIEW sequence_gaps IS 'Numbers that producers gave and no record in the log bears: lost before Kafka. One that arrives late is gone from here.';
COMMENT ON COLUMN sequence_gaps.ce_source IS 'The source, as in `sources`.';
COMMENT ON COLUMN sequence_gaps.epoch IS 'The epoch of its numbers.';
COMMENT ON COLUMN sequence_gaps.first_no IS 'First missing number.';
COMMENT ON COLUMN sequence_gaps.last_no IS 'Last missing number.';
COMMENT ON COLUMN sequence_gaps.records IS 'How many are missing.';
COMMENT ON COLUMN sequence_gaps.last_at_us IS 'When the log took the epoch''s latest record, µs UTC.';

CREATE TABLE source_minutes (
    minute_no integer NOT NULL,
    tenant_id text NOT NULL,
    ce_source text NOT NULL,
    records bigint NOT NULL,
    rejected bigint NOT NULL,
    PRIMARY KEY (minute_no, tenant_id, ce_source)
);
COMMENT ON TABLE source_minutes IS 'Records and rejects per minute of their append, of the last days.';
COMMENT ON COLUMN source_minutes.minute_no IS 'Minute: number since 1970, UTC.';
COMMENT ON COLUMN source_minutes.tenant_id IS 'The tenant, by credential; empty where it is not known.';
COMMENT ON COLUMN source_minutes.ce_source IS 'The source, as in `sources`; empty where the record does not say.';
COMMENT ON COLUMN source_minutes.records IS 'Records appended.';
COMMENT ON COLUMN source_minutes.rejected IS 'Of these, records that were rejected.';

CREATE TABLE alerts (
    alert_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state text NOT NULL,
    about text NOT NULL,
    tenant_id text,
    summary text NOT NULL,
    opened_at_us bigint NOT NULL,
    last_seen_at_us bigint NOT NULL,
    closed_at_us bigint
);
CREATE UNIQUE INDEX alerts_open ON alerts (state, about) WHERE closed_at_us IS NULL;
CREATE INDEX alerts_opened ON alerts (opened_at_us);
COMMENT ON TABLE alerts IS 'What was found wrong, from when to when.';
COMMENT ON COLUMN alerts.alert_no IS 'Number of the alert.';
COMMENT ON COLUMN alerts.state IS 'Which kind of trouble; docs/runbooks.md has a part for each.';
COMMENT ON COLUMN alerts.about IS 'Source, tenant, partition, …: one alert of a kind is open for each.';
COMMENT ON COLUMN alerts.tenant_id IS 'The tenant it concerns, where it is one.';
COMMENT ON COLUMN alerts.summary IS 'Figures, as last seen.';
COMMENT ON COLUMN alerts.opened_at_us IS 'When it was found, µs UTC.';
COMMENT ON COLUMN alerts.last_seen_at_us IS 'When it was last there, µs UTC.';
COMMENT ON COLUMN alerts.closed_at_us IS 'When it had been away for long enough, µs UTC; null while it is open.';

CREATE TABLE parked (
    kept_topic text NOT NULL,
    kept_partition integer NOT NULL,
    kept_offset bigint NOT NULL,
    append_at_us bigint NOT NULL,
    reason text NOT NULL,
    until_us bigint,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    parked_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (kept_topic, kept_partition, kept_offset)
);
COMMENT ON TABLE parked IS 'Rejected records that are set aside: no replay sends them and no alert counts them. They stay in `rejected`.';
COMMENT ON COLUMN parked.kept_topic IS 'Topic that keeps the bytes, as in `rejected`.';
COMMENT ON COLUMN parked.kept_partition IS 'Partition of that topic.';
COMMENT ON COLUMN parked.kept_offset IS 'Offset in that partition.';
COMMENT ON COLUMN parked.append_at_us IS 'When the log took the record, as in `rejected`, µs UTC.';
COMMENT ON COLUMN parked.reason IS 'Why, in the words of who parked it.';
COMMENT ON COLUMN parked.until_us IS 'Parked until then, µs UTC; null for good.';
COMMENT ON COLUMN parked.parked_at IS 'When it was parked.';
COMMENT ON COLUMN parked.parked_by IS 'Who parked it.';

CREATE INDEX parked_appended ON parked (append_at_us);
CREATE INDEX rejected_posted ON rejected (posted_at_us);

GRANT SELECT ON calls, witnesses, rates, dimensions, rejected, replays, parked, postings, lines, rollups_15m, rollups,
    rollup_deltas, compaction, batches, offsets, origins, origin_ranges, repricings, repricing_runs, watch, watch_offsets,
    sources, source_epochs, sequence_gaps, source_minutes, alerts TO watcher;
GRANT INSERT, UPDATE, DELETE ON watch_offsets, sources, source_epochs, source_minutes, alerts TO watcher;
GRANT UPDATE ON watch TO watcher;
GRANT SELECT ON watch, sources, source_epochs, source_minutes, sequence_gaps, alerts, parked TO keeper, analyst;
GRANT UPDATE (retired_at_us) ON sources TO keeper;
GRANT UPDATE (verified_at_us) ON watch TO keeper;
GRANT INSERT, UPDATE, DELETE ON parked TO keeper;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'calls', 'witnesses', 'rates', 'dimensions', 'rejected', 'postings', 'lines', 'rollups_15m'
    ] LOOP
        EXECUTE format('CREATE POLICY watcher_all ON %I FOR SELECT TO watcher USING (true)', name);
    END LOOP;
    -- An analyst sees the alerts of granted tenants; what concerns a source or the platform only where all are.
    FOREACH name IN ARRAY ARRAY['alerts', 'source_minutes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY watcher_all ON %I TO watcher USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY keeper_all ON %I FOR SELECT TO keeper USING (true)', name);
        EXECUTE format(
            'CREATE POLICY analyst_grants ON %I FOR SELECT TO analyst
             USING ((SELECT sees_all())
                    OR tenant_id IN (SELECT g.tenant_id FROM tenant_grants g WHERE g.grantee = session_user))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['sources', 'source_epochs', 'parked'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY watcher_all ON %I TO watcher USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY keeper_all ON %I TO keeper USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY analyst_all ON %I FOR SELECT TO analyst USING ((SELECT sees_all()))', name);
    END LOOP;
END
$$;
