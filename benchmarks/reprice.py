"""Calls of a ledger found, queued and charged anew by another price book, a second and in CPU time.

A ledger of `benchmarks.writer_vs_copy`'s workload is filled by the writer itself; then every price changes, so that
every call differs: found with its difference, queued, taken from the queue and posted. In the end all sums must agree.
Run it: `uv run python -m benchmarks.reprice [--records 40000]`.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stack import cpu_s
from benchmarks.writer_vs_copy import Clock, Side, workload, write
from ledger import repricing
from ledger import writer as ledger_writer
from ledger.database import Connection, connect
from ledger.private_postgres import AS_DEPLOYED, running
from ledger.rereading import from_stored, rereadings
from ledger.verify import verify
from tokenledger.pricing import build_book
from tokenledger.pricing.book import Overlay
from tokenledger.pricing.catalogue import Catalogue
from tokenledger.pricing.rate import OWN, Row
from tokenledger.process import Context

_NOTHING = Catalogue(name="none", known_from_us=0, rows={}, version="0", find=lambda *_: None)
_METERS = ("input.text", "input.text.cache_read", "output.text", "output.reasoning")


def _book() -> Context:
    rows = tuple(
        Row(layer=OWN, provider="openai", model="model-*", meter=meter, list_pico=333_000 + place)
        for place, meter in enumerate(_METERS)
    )
    return Context(build_book(_NOTHING, Overlay(rows=rows)))


@contextmanager
def _printed(name: str, connection: Connection, calls: int) -> Iterator[None]:
    """Print the rate and CPU time of what is done within, by this process and by this connection's backend."""
    clock, server_s = Clock(), cpu_s(connection.info.backend_pid)
    with clock:
        yield
    server_s = cpu_s(connection.info.backend_pid) - server_s
    print(
        f"{name:32} {calls / clock.wall_s:8.0f} calls/s, CPU a call: {1e6 * clock.cpu_s / calls:6.1f} µs Python,"
        f" {1e6 * server_s / calls:6.1f} µs Postgres",
        flush=True,
    )


def main() -> None:
    """Print what each part of a repricing takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=8_000)
    asked = parser.parse_args()
    ledger_writer.tune_interpreter()
    with running(AS_DEPLOYED) as server:
        side = Side(server, "reprice", commit="on")
        for number, values in enumerate(workload(asked.records, batch=asked.batch)):
            write(side, values, number * asked.batch)
        row = side.connection.execute("SELECT count(*) FROM calls").fetchone()
        calls = int(row[0]) if row else 0
        context = _book()
        with connect(server.settings("reprice"), application="reader") as reader:
            with _printed("found, with the difference", reader, calls):
                found = list(repricing.differences(reader, repricing.Wanted(), context))
            with _printed("read again from stored usage", reader, calls):
                for _ in rereadings(reader, repricing.Wanted(), read=from_stored(context), every=True):
                    pass
        run_no = repricing.begin_run(side.connection, reason="a benchmark", book_version=context.book.version)
        with _printed("queued", side.connection, calls):
            for differs in found:
                repricing.queue(side.connection, differs, run_no=run_no)
        with _printed("charged anew by the writer", side.connection, calls):
            while repricing.drain(side.connection, side.state, now_us=time.time_ns() // 1000):
                pass
        differences = verify(side.connection, None)
        side.connection.close()
    print(f"{calls} calls, load {os.getloadavg()[0]:.0f}, differences of sums: {len(differences)}")


if __name__ == "__main__":
    main()
