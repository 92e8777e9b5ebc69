"""Fills a ledger with as many calls as a year brings, set by set in Postgres: every sum in it is right.

50 tenants and 20 features by Zipf, 10 models, 3.5 lines a call in batches of 8,000, event times over an hour, 2 % a day
late, 1 % without a whole price, 5 % billed by the provider, latencies of one call in ten, 1 % decided by a router, one
rejected record in 200. A call's facts follow from its number alone.
"""

from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from ledger.compact import compact

BATCH_CALLS: Final = 8_000
LINES_A_CALL: Final = 3.5
_CHUNK_BATCHES: Final = 100
_YEAR_US: Final = 365 * 86_400_000_000

Admin = psycopg.Connection[tuple[Any, ...]]

_NUMBERS: Final = """
CREATE FUNCTION pg_temp.draw(number bigint, what bigint) RETURNS double precision LANGUAGE sql IMMUTABLE
RETURN (hashint8extended(number, what) & 1073741823) / 1073741824.0::double precision;

CREATE TEMP TABLE made (
    number bigint, posted_at_us bigint, charged_at_us bigint, total_us bigint,
    q0 bigint, q1 bigint, q2 bigint, q3 bigint, known bigint,
    tenant_no integer, feature_no integer, other boolean, dim_no integer, model_no integer, incomplete boolean
);
"""
_DIMENSIONS: Final = """
INSERT INTO dimensions (dim_no, tenant_id, environment, feature, api_key_id, provider, api, model, service_tier_served)
SELECT tenant * 40 + feature * 2 + other + 1, 'tenant-' || to_char(tenant, 'FM00'), 'production', 'feature-' || feature,
    'key-' || feature % 3, 'openai', 'chat', 'model-' || (feature + 3 * other) % 10, 'default'
FROM generate_series(0, 49) AS tenant, generate_series(0, 19) AS feature, generate_series(0, 1) AS other
ON CONFLICT DO NOTHING
"""
_RATES: Final = """
INSERT INTO rates (rate_no, tenant_id, meter, price_id, list_pico, list_per, contracted_pico, contracted_per, matched)
SELECT tenant * 40 + model * 4 + meter + 1, 'tenant-' || to_char(tenant, 'FM00'),
    (ARRAY['input.text', 'input.text.cache_read', 'output.text', 'output.reasoning'])[meter + 1],
    md5(format('%s %s', model, meter)), 150000 + 10000 * meter, 1, 150000 + 10000 * meter, 1,
    format('catalogue openai model-%s valid from 2025-01-01', model)
FROM generate_series(0, 49) AS tenant, generate_series(0, 9) AS model, generate_series(0, 3) AS meter
ON CONFLICT DO NOTHING
"""
_BOOK: Final = "INSERT INTO book_versions VALUES (1, '0123456789abcdef') ON CONFLICT DO NOTHING"

# %(first)s … %(last)s are calls, %(start)s is when batch 0 is posted, %(step)s is from one batch to the next.
_MADE: Final = """
INSERT INTO made
SELECT number, posted_at_us, charged_at_us, total_us, q0, q1, q2, q3,
    q0 * 150000 + q1 * 160000 + q2 * 170000 + coalesce(q3, 0) * 180000,
    tenant, feature, other, tenant * 40 + feature * 2 + other::integer + 1, (feature + 3 * other::integer) %% 10,
    pg_temp.draw(number, 9) < 0.01
FROM (
    SELECT number, %(start)s + (number - 1) / %(batch)s * %(step)s AS posted_at_us,
        %(start)s + (number - 1) / %(batch)s * %(step)s - (pg_temp.draw(number, 1) * 3600000000)::bigint
            - CASE WHEN pg_temp.draw(number, 2) < 0.02 THEN 86400000000 ELSE 0 END AS charged_at_us,
        500000 + (pg_temp.draw(number, 3) * 8500000)::bigint AS total_us,
        1 + hashint8extended(number, 4) & 2047 AS q0, 1 + hashint8extended(number, 5) & 1023 AS q1,
        1 + hashint8extended(number, 6) & 511 AS q2,
        CASE WHEN number %% 2 = 0 THEN 1 + hashint8extended(number, 7) & 255 END AS q3,
        power(50, pg_temp.draw(number, 10))::integer - 1 AS tenant,
        power(20, pg_temp.draw(number, 11))::integer - 1 AS feature,
        pg_temp.draw(number, 12) < 0.2 AS other
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
) AS drawn
"""
_POSTINGS: Final = """
INSERT INTO postings (posting_id, posted_at_us, subject_id, charged_at_us, origin_offset, origin_partition, dim_no,
    book_no, subject_kind, cause, charge_category, calls, incomplete_calls, total_bucket, ttft_bucket, decode_bucket)
SELECT number, posted_at_us, number, charged_at_us, (number - 1) / 4, (number - 1) % 4, dim_no,
    1, 'call', 'charge', 'usage', 1, incomplete::integer,
    CASE WHEN number % 10 = 0 THEN round(ln(total_us) / ln(1.02)) END,
    CASE WHEN number % 10 = 0 THEN 637 END,
    CASE WHEN number % 10 = 0 THEN round(ln(total_us - 300000 + 1) / ln(1.02)) END
FROM made
"""
_LINES: Final = """
INSERT INTO lines
SELECT number, posted_at_us, q, q * (150000 + 10000 * place), q * (150000 + 10000 * place),
    (charged_at_us / 900000000)::integer, dim_no, tenant_no * 40 + model_no * 4 + place + 1, place
FROM made, LATERAL (VALUES (0, q0), (1, q1), (2, q2), (3, q3)) AS metered (place, q)
WHERE q IS NOT NULL
"""
_CALLS: Final = """
INSERT INTO calls (
    call_id, charged_at_us, posting_id, revision, reading_version, explicit_leaves, started_at_us, known_cost_usd_pico,
    partition, "offset", append_at_us, http_status, input_tokens, output_tokens, billed_usd_pico, received_at_us,
    first_token_at_us, ended_at_us, cost_usd_pico, computed_usd_pico, chargeable_usd_pico, total_us, ttft_us, tpot_us,
    first_token_wait_us, decode_us, unattributed_us, dim_no, id_reuse, stream, cache_hit, tenant_id, event_id,
    event_key,
    ce_source, provider, status, usage, usage_source, usage_reading, event_time_source, price_status, book_version,
    fingerprint, rank, topic, code_version, response_key, response_id, operation_id, environment, feature, user_id,
    api_key_id, api, request_model, response_model, service_tier_served, route, decision_id, decision, finish_reason,
    raw_usage, priced_provider, priced_model, unpriced_meters, anomalies)
SELECT number, charged_at_us, number, 0, 1, 3, charged_at_us, known,
    (number - 1) % 4, (number - 1) / 4, posted_at_us, 200, q0 + q1, q2 + coalesce(q3, 0),
    CASE WHEN number % 20 = 0 THEN known END, posted_at_us, charged_at_us + 300000, charged_at_us + total_us,
    CASE WHEN NOT incomplete THEN known END, CASE WHEN NOT incomplete THEN known END, known, total_us, 300000, 12000,
    300000, total_us - 300000, 0, dim_no, false, true, number % 50 = 0,
    'tenant-' || to_char(tenant_no, 'FM00'), md5(number::text),
    'gateway-0' || chr(31) || number, 'gateway-0', 'openai', 'ok',
    jsonb_build_object('input.text', q0, 'input.text.cache_read', q1, 'output.text', q2), 'reported', 'openai.chat',
    'started_at', CASE WHEN incomplete THEN 'partly_priced' ELSE 'priced' END, '0123456789abcdef',
    sha256(int8send(number)),
    int8send(0) || int8send(3) || int8send(number) || sha256(int8send(number)), 'llm.raw.v1', '0.1.0',
    'openai' || chr(31) || 'chatcmpl-' || md5(number::text), 'chatcmpl-' || md5(number::text),
    CASE WHEN number % 100 = 0 THEN 'op-' || number END, 'production', 'feature-' || feature_no,
    'user-' || number % 5000,
    'key-' || feature_no % 3, 'chat', 'model-' || model_no, 'model-' || model_no || '-2025-08-07', 'default', 'chat',
    CASE WHEN number % 100 = 0 THEN 'd-' || number END,
    CASE WHEN number % 100 = 0 THEN
        jsonb_build_object('route', 'chat', 'tier', 'small', 'strongest_cost_usd_pico', known) END,
    'stop', json_build_object('prompt_tokens', q0 + q1, 'completion_tokens', q2, 'prompt_tokens_details',
        json_build_object('cached_tokens', q1)), 'openai', 'model-' || model_no,
    CASE WHEN incomplete THEN ARRAY['tool.web_search'] END, CASE WHEN number % 97 = 0 THEN ARRAY['aborted'] END
FROM made
"""
_BATCHES: Final = """
INSERT INTO batches SELECT posted_at_us, max(number) + 1, count(*), '1' FROM made GROUP BY 1
"""
_KEYS: Final = """
INSERT INTO call_keys
SELECT encode(substring(sha256(convert_to(whole, 'UTF8')), 1, 16), 'hex')::uuid AS key, call_id, charged_at_us
FROM calls, LATERAL (VALUES (tenant_id || chr(31) || 'e' || chr(31) || event_key),
    (tenant_id || chr(31) || 'r' || chr(31) || response_key)) AS keys (whole)
WHERE call_id BETWEEN %(first)s AND %(last)s ORDER BY 1
"""
_REJECTED: Final = """
INSERT INTO rejected (kept_topic, kept_partition, kept_offset, reason, field, detail, stage, tenant_id, event_id, topic,
    partition, "offset", append_at_us, attempt_no, code_version, ce_source, posted_at_us)
SELECT 'llm.rejected.v1', 0, number, (ARRAY['unknown_shape', 'bad_json', 'negative_meter'])[1 + number %% 3], 'usage',
    'no usage that any reading knows', 'normalise',
    'tenant-' || to_char(power(50, pg_temp.draw(number, 10))::integer - 1, 'FM00'),
    md5(number::text), 'llm.raw.v1', 4, number, %(start)s + number * 200 / %(batch)s * %(step)s, 1,
    '0.1.0', 'gateway-0', %(start)s + number * 200 / %(batch)s * %(step)s
FROM generate_series(%(first)s::bigint / 200, %(last)s::bigint / 200 - 1) AS number
"""
_ORIGINS: Final = """
INSERT INTO origins (topic, partition, first_offset, winners, rejected)
SELECT 'llm.raw.v1', origin_partition, min(origin_offset), count(*), 0 FROM postings GROUP BY 2
UNION ALL
SELECT 'llm.raw.v1', 4, min("offset"), 0, count(*) FROM rejected HAVING count(*) > 0
"""
_RANGES: Final = """
INSERT INTO origin_ranges
SELECT topic, partition, chunk, int8multirange(int8range(
    greatest(first_offset, chunk * 65536), least(first_offset + winners + rejected, (chunk + 1) * 65536)))
FROM origins, generate_series(first_offset / 65536, (first_offset + winners + rejected - 1) / 65536) AS chunk
"""


class Filling:
    """A ledger of `calls` calls that end at `end_us`, filled from its end backwards as far as is asked."""

    def __init__(self, admin: Admin, *, calls: int, end_us: int, batch_calls: int = BATCH_CALLS) -> None:
        self.admin = admin
        self.batch_calls = batch_calls
        self.last = calls - calls % batch_calls
        self.first = self.last + 1
        step_us = _YEAR_US // max(self.last // batch_calls, 1)
        self._times = {"start": end_us - _YEAR_US, "step": step_us, "batch": batch_calls}
        admin.execute(_NUMBERS)
        for statement in (_DIMENSIONS, _RATES, _BOOK):
            admin.execute(statement)

    def back_to(self, first: int, say: Callable[[str], None] = print) -> None:
        """Add the calls from number `first` (the begin of a batch) to those that are there."""
        before, at_once = self.first, _CHUNK_BATCHES * self.batch_calls
        for at in range(first, before, at_once):
            end = min(at + at_once, before) - 1
            self._chunk(at, end)
            say(f"calls {at:,} to {end:,} up to {before - 1:,}")
        self.admin.execute(_KEYS, {"first": first, "last": before - 1})
        self.admin.execute(_REJECTED, {"first": first, "last": before - 1, **self._times})
        for statement in ("TRUNCATE origins, origin_ranges", _ORIGINS, _RANGES):
            self.admin.execute(statement)
        self.admin.execute("UPDATE compaction SET posted_at_us = (SELECT max(posted_at_us) FROM batches)")
        self.first = first

    def _chunk(self, first: int, last: int) -> None:
        admin = self.admin
        admin.execute("TRUNCATE made")
        admin.execute(_MADE, {"first": first, "last": last, **self._times})
        for table, column in (("calls", "charged_at_us"), ("postings", "posted_at_us"), ("lines", "posted_at_us")):
            months = sql.SQL(
                "SELECT ensure_month(%s::regclass, at) "
                "FROM (SELECT DISTINCT {0} - {0} %% 86400000000 FROM made) AS days (at)"
            )
            admin.execute(months.format(sql.Identifier(column)), (table,))
        for statement in (_POSTINGS, _LINES, _CALLS, _BATCHES):
            admin.execute(statement)
        # Folded by the product's own statements: what was posted after the chunk is folded already.
        admin.execute("UPDATE compaction SET posted_at_us = (SELECT min(posted_at_us) - 1 FROM made)")
        compact(admin, batches=(last - first + 1) // self.batch_calls)


def bytes_on_disk(admin: Admin) -> dict[str, int]:
    """What every table takes with its indexes; partitions count for their table."""
    rows = admin.execute(
        """
        SELECT coalesce(p.relname, c.relname), sum(pg_total_relation_size(c.oid))::bigint
        FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' GROUP BY 1 ORDER BY 2 DESC
        """
    )
    return {str(name): int(size) for name, size in rows}
