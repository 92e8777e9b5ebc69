"""The ledger's write path against raw binary COPY of the same rows into the same tables, batch by batch in one run.

The workload: 50 tenants and 10 models by Zipf, 20 features, 3.5 lines a call, event times over 6 h, 5 % duplicates,
2 % a day late. Run it: `uv run python -m benchmarks.writer_vs_copy [--records 160000] [--commit on|off]`.
"""

import argparse
import gc
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from msgspec.structs import replace

from ledger import kafka as ledger_kafka
from ledger import store
from ledger import writer as ledger_writer
from ledger.calls import CallPacker
from ledger.database import Connection, connect
from ledger.drafting import draft
from ledger.kafka import Read
from ledger.migrate import migrate
from ledger.posting import Poster, Rows
from ledger.private_postgres import AS_DEPLOYED, Server, running
from tokenledger.merge import fingerprint, rank
from tokenledger.records import Call, Latency, Line, PricedCall
from tokenledger.records.wire import decode_priced, encode_priced

_START_US = 1_760_000_000_000_000
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_PLACE = ("llm.priced.v1", 0)
_METERS = ("input.text", "input.text.cache_read", "output.text", "output.reasoning")


def _zipf(source: random.Random, count: int) -> int:
    return source.choices(range(count), weights=[1 / (place + 1) for place in range(count)])[0]


def _line(meter: str, quantity: int, model: str) -> Line:
    pico = 150_000 + 10_000 * _METERS.index(meter)
    return Line(
        meter=meter, quantity=quantity, amount_usd_pico=quantity * pico, list_amount_usd_pico=quantity * pico,
        list_pico=pico, contracted_pico=pico, price_id=f"{abs(hash((meter, model))):032x}"[:32],
        matched=f"catalogue openai {model} {meter} valid from 2025-01-01",
    )  # fmt: skip


def _priced(source: random.Random, number: int, *, first_partition: int, start_us: int) -> PricedCall:
    model = f"model-{_zipf(source, 10)}"
    append_at_us = start_us + number * 125
    late_us = _DAY_US if source.random() < 0.02 else 0
    started_at_us = append_at_us - source.randrange(6 * _HOUR_US) - late_us
    usage = {meter: source.randrange(1, 3000) for meter in _METERS[: 3 + number % 2]}
    lines = tuple(_line(meter, quantity, model) for meter, quantity in usage.items())
    known = sum(line.amount_usd_pico for line in lines)
    reply = f"chatcmpl-{source.getrandbits(128):032x}"
    call = Call(
        tenant_id=f"tenant-{_zipf(source, 50):02d}", event_id=f"{source.getrandbits(128):032x}",
        event_key=f"gateway-{first_partition}\x1f{number}", response_key=f"openai\x1f{reply}", response_id=reply,
        ce_source="gateway-1", environment="production", feature=f"feature-{source.randrange(20)}",
        api_key_id=f"key-{source.randrange(3)}", provider="openai", api="chat", request_model=model,
        response_model=f"{model}-2025-08-07", service_tier_served="default", stream=True, http_status=200,
        finish_reason="stop", usage=usage, input_tokens=usage["input.text"] + usage["input.text.cache_read"],
        output_tokens=usage["output.text"], usage_source="reported", usage_reading="openai.chat", explicit_leaves=3,
        raw_usage={"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500,
                   "prompt_tokens_details": {"cached_tokens": 512, "audio_tokens": 0},
                   "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0}},
        started_at_us=started_at_us, event_time_source="started_at", first_token_at_us=started_at_us + 300_000,
        ended_at_us=started_at_us + source.randrange(500_000, 9_000_000), received_at_us=append_at_us,
    )  # fmt: skip
    print_ = fingerprint(call)
    total_us = (call.ended_at_us or 0) - started_at_us
    return PricedCall(
        call=call, lines=lines, price_status="priced", cost_usd_pico=known, known_cost_usd_pico=known,
        computed_usd_pico=known, chargeable_usd_pico=known, priced_provider="openai", priced_model=model,
        book_version="0123456789abcdef", fingerprint=print_, rank=rank(call, print_), topic="llm.raw.v1",
        partition=first_partition + number % 4, offset=number // 4, append_at_us=append_at_us, code_version="0.1.0",
        latency=Latency(total_us=total_us, ttft_us=300_000, tpot_us=12_000, first_token_wait_us=300_000,
                        decode_us=total_us - 300_000, unattributed_us=0),
    )  # fmt: skip


def workload(records: int, *, batch: int, first_partition: int = 0, start_us: int = _START_US) -> Iterator[list[bytes]]:
    """The values of the priced topic, in batches."""
    source = random.Random(7)
    recent: list[PricedCall] = []
    values = []
    for number in range(records):
        if recent and source.random() < 0.05:
            again = source.choice(recent)
            place = (first_partition + number % 4, number // 4)
            one = replace(again, partition=place[0], offset=place[1], append_at_us=start_us + number * 125)
        else:
            one = _priced(source, number, first_partition=first_partition, start_us=start_us)
            recent = [*recent[-200:], one]
        values.append(encode_priced(one))
        if len(values) == batch:
            yield values
            values = []
    if values:
        yield values


@dataclass
class Clock:
    """Wall and own CPU time of one side."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._wall_s
        self.cpu_s += time.process_time() - self._cpu_s


class Side:
    """One of the two databases."""

    def __init__(self, server: Server, name: str, *, commit: str) -> None:
        server.create(name)
        with psycopg.connect(server.dsn("postgres", name), autocommit=True) as admin:
            migrate(admin)
        self.connection: Connection = connect(server.settings(name), application=name)
        self.connection.execute("INSERT INTO offsets (topic, partition, next_offset) VALUES (%s, %s, 0)", _PLACE)
        store.prepare(self.connection, synchronous_commit=commit)
        self.state = store.load_state(self.connection)
        self.clock = Clock()
        self._pid = self.connection.info.backend_pid
        self._server_s = self._server_cpu_s()

    def server_cpu_s(self) -> float:
        """CPU time of its Postgres backend since it connected."""
        return self._server_cpu_s() - self._server_s

    def _server_cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes_on_disk(self) -> int:
        """All tables with their indexes."""
        row = self.connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchone()
        return int(row[0]) if row else 0


def write(side: Side, values: list[bytes], first: int) -> None:
    """The write path as the writer runs it, from the bytes of the topic to the commit."""
    reads = [Read(*_PLACE, first + index, value, list) for index, value in enumerate(values)]
    with side.clock:
        ledger_writer.write(
            side.connection, side.state, reads, decode=ledger_kafka.received, now_us=time.time_ns() // 1000
        )


def copy(side: Side, values: list[bytes], seen: set[str]) -> None:
    """The same rows, ready made, by COPY alone; what makes them is not on the clock."""
    poster, rows = Poster(side.state, CallPacker(side.connection), side.state.begin(time.time_ns() // 1000)), Rows()
    for value in values:
        record = decode_priced(value)
        if record.fingerprint not in seen:
            seen.add(record.fingerprint)
            made = draft(Read(*_PLACE, 0, value, list), record, poster)
            rows.charge(made.charge)
            for key in (made.event, made.response or b""):
                rows.key(key, made.charge.charged)
    for table, instants_us in (
        ("postings", {poster.posted_at_us}),
        ("lines", {poster.posted_at_us}),
        ("calls", {charge.charged.charged_at_us // _DAY_US * _DAY_US for charge in rows.charges}),
    ):
        store.ensure_months(side.connection, table, instants_us)
    streams = store.streams(rows)
    with side.clock, side.connection.transaction(), side.connection.cursor() as cursor:
        for statement, stream in streams:
            with cursor.copy(statement) as out:
                out.write(stream)


def main() -> None:
    """Print the ratio, the CPU of the Python side and the bytes a call takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=160_000)
    parser.add_argument("--batch", type=int, default=8_000)
    parser.add_argument("--commit", choices=("on", "off"), default="on")
    asked = parser.parse_args()
    ledger_writer.tune_interpreter()
    with running(AS_DEPLOYED) as server:
        writer, plain = (Side(server, name, commit=asked.commit) for name in ("writer", "plain"))
        batches = list(workload(asked.records, batch=asked.batch))
        gc.collect()
        gc.freeze()
        seen: set[str] = set()
        for number, values in enumerate(batches):
            write(writer, values, number * asked.batch)
            copy(plain, values, seen)
        size = writer.bytes_on_disk()
        row = writer.connection.execute("SELECT count(*) FROM calls").fetchone()
        servers_s = [side.server_cpu_s() for side in (writer, plain)]
        writer.connection.close()
        plain.connection.close()
    calls = row[0] if row else 0
    for name, side, server_s in zip(("writer", "COPY alone"), (writer, plain), servers_s, strict=True):
        print(
            f"{name:11} {asked.records / side.clock.wall_s:8.0f} records/s, CPU a record:"
            f" {1e6 * side.clock.cpu_s / asked.records:5.1f} µs Python,"
            f" {1e6 * server_s / asked.records:5.1f} µs Postgres"
        )
    print(f"ratio       {plain.clock.wall_s / writer.clock.wall_s:8.2f}")
    print(f"disk        {size / calls:8.0f} bytes a call, {calls} calls, all tables and indexes")


if __name__ == "__main__":
    main()
