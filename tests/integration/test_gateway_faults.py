"""What a gateway does when it is killed, or when what it depends on is slow or gone: served, refused, never forgotten.

The simulator's journal says which requests reached an upstream. Whatever happens, the ledger has one row for each.
"""

import asyncio
import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from ledger.kafka import KafkaSide
from ledger.verify import verify
from serving.simulator.process import Fleet
from serving.simulator.process import running as simulator
from tests.integration import gateways
from tests.integration.callers import Callers, Sent
from tests.integration.conftest import RunningStack
from tests.integration.gateways import Gateway

_TIERS = """
[[tiers]]
name = "small"
models = ["gpt-4o-mini"]
slots = 200
ttft_us_p50 = 40_000
tpot_us_p50 = 4_000
output_tokens_p50 = 30
stall_us = 8_000_000

[[tiers]]
name = "long"
models = ["gpt-4o"]
slots = 200
ttft_us_p50 = 1_000
tpot_us_p50 = 0
output_tokens_p50 = 4_000
"""
_SHIPPED_WITHIN_S = 60.0
_IDLE_CONNECTIONS = 5_000
# gpt-4o-mini as its provider lists it: 0.15 and 0.60 USD a million tokens.
_INPUT_USD_PICO, _OUTPUT_USD_PICO = 150_000, 600_000


@dataclass(frozen=True, slots=True)
class Service:
    """A stack with a gateway before a simulator."""

    stack: RunningStack
    gateway: Gateway
    fleet: Fleet
    key: str

    def callers(self, name: str) -> Callers:
        """Callers whose requests bear this name."""
        return Callers(self.gateway.url, self.key, name=name)

    def reached(self, name: str) -> Counter[str]:
        """How often each of the requests of that name reached the upstream."""
        return Counter(entry.user for entry in self.fleet.journal() if entry.user and entry.user.startswith(f"{name}-"))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The ledger's calls of that name."""
        with psycopg.connect(self.stack.layout.dsn("analyst")) as connection:
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
            cursor.execute(
                "SELECT user_id, status, usage_source, price_status, known_cost_usd_pico, http_status, error_type,"
                " total_us, admit_us, ttft_us FROM calls WHERE starts_with(user_id, %s)",
                [f"{name}-"],
            )
            return cursor.fetchall()

    def final_rows(self, name: str) -> list[dict[str, Any]]:
        """The same, once all that reached the upstream are there and none is in progress."""
        self.fleet.wait_until_idle()
        reached = self.reached(name).keys()

        def are_there() -> bool:
            rows = self.rows(name)
            return reached <= {row["user_id"] for row in rows} and all(row["status"] != "in_progress" for row in rows)

        self.stack.wait_until(are_there, f"the outcomes of {len(reached)} calls", within_s=_SHIPPED_WITHIN_S)
        return self.rows(name)

    def is_accounted(self, name: str) -> list[dict[str, Any]]:
        """One row for each request that reached the upstream, none twice, and the law holds."""
        rows = self.final_rows(name)
        counted = Counter(row["user_id"] for row in rows)
        assert {user: counted[user] for user in self.reached(name)} == self.reached(name)
        assert set(counted.values()) == {1}
        self._is_right()
        return rows

    def _is_right(self) -> None:
        kafka = KafkaSide(self.stack.layout.kafka_bootstrap)
        deadline = time.monotonic() + _SHIPPED_WITHIN_S
        with psycopg.connect(self.stack.layout.dsn("analyst"), autocommit=True) as connection:
            while found := verify(connection, kafka):
                assert time.monotonic() < deadline, "\n".join(map(str, found))
                time.sleep(0.2)
        kafka.close()


@pytest.fixture(scope="module")
def service(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("faults")
    stack.wait_until_healthy()
    secret = gateways.secret_in(folder)
    environment = stack.layout.client_environment() | {"TOKENLEDGER_KEY_SECRET_FILE": str(secret)}
    key = gateways.new_key(stack.layout.dsn("keeper"), secret, tenant_id="faults")
    with simulator(_TIERS, folder) as fleet:
        # Without retries a request reaches the upstream once or not at all.
        extra, upstream = "retries = { attempts = 1 }\n" + _NO_BREAKER, "first_byte_ms = 3_000"
        gateway = gateways.gateway_before(fleet, folder, environment=environment, extra=extra, upstream=upstream)
        gateway.start()
        try:
            yield Service(stack, gateway, fleet, key)
        finally:
            gateway.stop()


_NO_BREAKER = "breaker = { failures = 1_000_000, ratio = 1.0, window = 1_000 }\n"


def _cost_usd_pico(usage: dict[str, Any]) -> int:
    """By hand: nothing of it is cached."""
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    tokens: tuple[int, int] = usage["prompt_tokens"], usage["completion_tokens"]
    return tokens[0] * _INPUT_USD_PICO + tokens[1] * _OUTPUT_USD_PICO


def _all_served(sent: list[Sent]) -> None:
    assert [(one.status, one.complete) for one in sent] == [(200, True)] * len(sent)


def test_killed_under_load_it_has_one_row_for_each_request_that_reached_the_upstream(service: Service) -> None:
    callers = service.callers("killed")

    async def load_and_kill() -> None:
        loading = asyncio.create_task(callers.load(seconds=9, callers=30))
        for _ in range(3):
            await asyncio.sleep(2)
            await asyncio.to_thread(service.gateway.kill)
            await asyncio.to_thread(service.gateway.start)
        await loading

    asyncio.run(load_and_kill())
    rows = {row["user_id"]: row for row in service.is_accounted("killed")}
    told = {sent.user: sent.usage for sent in callers.journal if sent.complete and sent.usage}
    cut = [sent for sent in callers.journal if sent.status == 200 and not sent.complete]
    assert len(told) > 20
    assert cut  # a kill met streams in the middle
    assert {user: rows[user]["known_cost_usd_pico"] for user in told} == {
        user: _cost_usd_pico(usage) for user, usage in told.items()
    }
    orphans = [row for row in rows.values() if row["error_type"] == "gateway_ended"]
    assert {row["user_id"] for row in orphans} >= {sent.user for sent in cut}
    assert {(row["status"], row["usage_source"] in {"none", "estimated"}) for row in orphans} == {("aborted", True)}


def test_a_whole_answer_is_charged_what_its_usage_says_and_its_time_is_explained(service: Service) -> None:
    sent = service.callers("plain").several(20)
    _all_served(sent)
    rows = {row["user_id"]: row for row in service.is_accounted("plain")}
    for one in sent:
        assert one.usage is not None
        assert rows[one.user]["known_cost_usd_pico"] == _cost_usd_pico(one.usage)
        assert rows[one.user]["admit_us"] >= 0
        assert rows[one.user]["total_us"] > rows[one.user]["admit_us"]
        assert (rows[one.user]["ttft_us"] is not None) == one.stream


def test_kafka_away_the_outbox_keeps_what_is_served(service: Service) -> None:
    kafka = service.stack.pid("kafka")
    with ExitStack() as undo:
        undo.callback(_signal, kafka, signal.SIGCONT)
        _signal(kafka, signal.SIGSTOP)
        sent = service.callers("kafka").several(20)
        _all_served(sent)
        assert service.rows("kafka") == []
    assert len(service.is_accounted("kafka")) == 20


def test_postgres_away_keys_known_before_go_on_and_the_ledger_catches_up(service: Service) -> None:
    supervision = service.stack.stack.supervision
    with ExitStack() as undo:
        undo.callback(service.stack.wait_until_healthy)
        undo.callback(supervision.start_program, "postgres")
        supervision.stop_program("postgres")
        sent = service.callers("postgres").several(20)
        _all_served(sent)
    assert len(service.is_accounted("postgres")) == 20


def test_started_without_postgres_it_takes_no_call_until_it_knows_its_keys(service: Service) -> None:
    supervision = service.stack.stack.supervision
    with ExitStack() as undo:
        undo.callback(service.stack.wait_until_healthy)
        undo.callback(supervision.start_program, "postgres")
        supervision.stop_program("postgres")
        service.gateway.kill()
        service.gateway.launch()
        service.stack.wait_until(lambda: service.gateway.readiness() != 0, "the gateway to listen")
        assert service.gateway.readiness() == 503
        assert {sent.status for sent in service.callers("keyless").several(4)} == {503}
    service.stack.wait_until(service.gateway.ready, "the gateway to know its keys")
    assert service.reached("keyless") == Counter()
    _all_served(service.callers("keyed").several(4))


def test_redis_away_nothing_changes_for_who_calls(service: Service) -> None:
    redis = service.stack.pid("redis")
    with ExitStack() as undo:
        undo.callback(_signal, redis, signal.SIGCONT)
        _signal(redis, signal.SIGSTOP)
        _all_served(service.callers("redis").several(20))
    assert len(service.is_accounted("redis")) == 20


def test_an_upstream_that_does_not_answer_in_time_is_a_504_and_a_row(service: Service) -> None:
    sent = service.callers("slow").several(2, metadata={"simulate": "slow_headers"})
    assert [one.status for one in sent] == [504, 504]
    assert {row["status"] for row in service.is_accounted("slow")} <= {"aborted", "error"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        # Tokens were delivered and nobody counted them: an estimate, which says so.
        ("usage_missing", ("ok", None, "estimated", "priced")),
        ("truncated_stream", ("aborted", "upstream_closed", "estimated", "priced")),
        ("error_in_200", ("aborted", "upstream_error_event", "estimated", "priced")),
    ],
)
def test_an_upstream_without_a_count_is_accounted_by_what_was_seen(
    service: Service, fault: str, expected: tuple[str, str | None, str, str]
) -> None:
    name = f"{fault.replace('_', '-')}-lie"
    asyncio.run(_stream_once(service.callers(name), fault))
    [row] = service.is_accounted(name)
    assert (row["status"], row["error_type"], row["usage_source"], row["price_status"]) == expected
    assert row["known_cost_usd_pico"] > 0


def test_an_upstream_that_counts_twice_is_counted_once(service: Service) -> None:
    asyncio.run(_stream_once(service.callers("doubled"), "usage_doubled"))
    [row] = service.is_accounted("doubled")
    [entry] = [entry for entry in service.fleet.journal() if entry.user == "doubled-00000"]
    honest = entry.prompt_tokens * _INPUT_USD_PICO + entry.completion_tokens * _OUTPUT_USD_PICO
    assert row["known_cost_usd_pico"] == honest


def test_an_upstream_that_contradicts_itself_is_rejected_with_its_bytes_and_its_call_ends(service: Service) -> None:
    asyncio.run(_stream_once(service.callers("negative"), "usage_negative"))
    [row] = service.is_accounted("negative")
    assert (row["status"], row["price_status"], row["known_cost_usd_pico"]) == ("ok", "unmetered", 0)
    with psycopg.connect(service.stack.layout.dsn("analyst")) as connection:
        found = connection.execute(
            "SELECT reason FROM rejected JOIN calls USING (tenant_id, event_id) WHERE calls.user_id = 'negative-00000'"
        ).fetchall()
    assert found == [("invalid_count",)]


async def _stream_once(callers: Callers, fault: str) -> None:
    async with aiohttp.ClientSession() as session:
        await callers.call(session, stream=True, metadata={"simulate": fault})


def test_a_client_that_does_not_read_holds_up_nobody_and_fills_no_memory(service: Service) -> None:
    """Each answer is about a megabyte, of which the sockets take a part and the gateway must not take the rest."""
    _all_served(service.callers("before").several(10))
    before_kib = _resident_kib(service.gateway.pid)
    with ExitStack() as held:
        lazy = [held.enter_context(_stream_unread(service, number)) for number in range(20)]
        time.sleep(3)
        _all_served(service.callers("beside").several(10))
        assert _resident_kib(service.gateway.pid) - before_kib < 12 * 1024
        for connection in lazy:
            assert _read_to_end(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert len(service.is_accounted("lazy")) == 20


def _stream_unread(service: Service, number: int) -> socket.socket:
    """A long stream that was asked for and is not read; its socket takes little."""
    messages = '[{"role": "user", "content": "Tell me all."}]'
    body = f'{{"model": "gpt-4o", "stream": true, "user": "lazy-{number:05d}", "messages": {messages}}}'
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", service.gateway.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.key}\r\n"
    connection.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def _read_to_end(connection: socket.socket) -> bytes:
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        data = connection.recv(1 << 20)
        assert data, "closed early"
        tail = (tail + data)[-256:]
    return tail


def test_five_thousand_idle_connections_take_nothing_from_who_calls(service: Service) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _IDLE_CONNECTIONS + 500:
        pytest.skip(f"{hard} open files are allowed; {_IDLE_CONNECTIONS + 500} are needed (`ulimit -n`)")
    with ExitStack() as undo:
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _IDLE_CONNECTIONS + 500), hard))
        for _ in range(_IDLE_CONNECTIONS):
            undo.enter_context(socket.create_connection(("127.0.0.1", service.gateway.port), timeout=10))
        _all_served(service.callers("crowd").several(50))
    assert len(service.is_accounted("crowd")) == 50


def _signal(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])
