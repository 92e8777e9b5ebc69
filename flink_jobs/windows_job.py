"""Wiring of windows_job: priced calls in batches, one function that counts them by the minute, one sink."""

from __future__ import annotations

import os
import sys
import time

from pyflink.common import Configuration, Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, Schema, StreamTableEnvironment

from flink_jobs import connectors
from flink_jobs.operators import WINDOW_TYPE, CountMinutes
from flink_jobs.settings import MEMORY_US, WINDOWS_OPTIONS, Settings

NAME = "windows_job"

# A crossing into Python costs as much as counting a call: a tenth of a second's records cross together.
BATCHES = """
    SELECT record_partition, ARRAY_AGG(record_value) AS record_values
    FROM TABLE(TUMBLE(TABLE priced_calls, DESCRIPTOR(arrived), INTERVAL '0.1' SECOND))
    GROUP BY window_start, window_end, record_partition"""


def environment(settings: Settings) -> StreamExecutionEnvironment:
    """One environment whose jobs run on the settings' JobManager."""
    configuration = Configuration()
    for name, value in (settings.remote(NAME) | WINDOWS_OPTIONS | settings.recovery()).items():
        configuration.set_string(name, value)
    # The Python factory knows only the cluster of `flink run`.
    jvm = get_gateway().jvm
    no_jars = get_gateway().new_array(jvm.java.lang.String, 0)
    remote = jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment.createRemoteEnvironment
    return StreamExecutionEnvironment(
        remote(settings.rest_host, settings.rest_port, configuration._j_configuration, no_jars)  # noqa: SLF001 - no other way in
    )


def planned(settings: Settings, *, since_ms: int) -> StreamExecutionEnvironment:
    """The whole job, not yet submitted."""
    stream = environment(settings)
    tables = StreamTableEnvironment.create(stream)
    for statement in connectors.window_statements(settings, since_ms=since_ms):
        tables.execute_sql(statement)
    windows = (
        tables.to_data_stream(tables.sql_query(BATCHES))
        .key_by(lambda _batch: 0, key_type=Types.INT())
        .process(CountMinutes(settings.disorder_us), output_type=WINDOW_TYPE)
        .uid("count_minutes")
        .name("count_minutes")
    )
    columns = Schema.new_builder().column("record_key", DataTypes.BYTES()).column("record_value", DataTypes.BYTES())
    statements = tables.create_statement_set()
    statements.add_insert("feature_windows", tables.from_data_stream(windows, columns.build()))
    statements.attach_as_datastream()
    return stream


def main() -> None:
    """Submit, and return: the job lives on the cluster."""
    settings = Settings.from_environment(os.environ, job=NAME)
    stream = planned(settings, since_ms=(time.time_ns() // 1000 - MEMORY_US) // 1000)
    submitted = stream.execute_async(NAME)
    origin = settings.resume_from or "the last two hours of the log"
    sys.stdout.write(f"{NAME}: submitted as {submitted.get_job_id()}, from {origin}\n")


if __name__ == "__main__":
    main()
