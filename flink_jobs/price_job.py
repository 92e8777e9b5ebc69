"""Wiring of price_job: raw events, one function, two sinks. `python -m flink_jobs.price_job` submits it."""

from __future__ import annotations

import os
import sys

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, StatementSet, TableEnvironment

from flink_jobs import connectors
from flink_jobs.operators import function
from flink_jobs.settings import JOB_OPTIONS, Settings

NAME = "price_job"

DECIDED = """
    SELECT record_key, decide(
        record_key, record_value, {headers}, record_partition, record_offset,
        EXTRACT(EPOCH FROM append_at) * 1000 + EXTRACT(MILLISECOND FROM append_at)
    ) AS outcome
    FROM raw_events"""
# Two arrays cross into Python quicker than a map; the yardstick crosses as plainly as it can.
HEADERS = {"price": "MAP_KEYS(record_headers), MAP_VALUES(record_headers)", "identity": "record_headers"}
PRICED = """
    INSERT INTO priced_calls
    SELECT record_key, outcome.record_value, outcome.record_headers FROM decided WHERE outcome.priced"""
REJECTED = """
    INSERT INTO rejected_records
    SELECT record_key, outcome.record_value, outcome.record_headers FROM decided WHERE NOT outcome.priced"""


def environment(settings: Settings) -> TableEnvironment:
    """One streaming environment whose jobs run on the settings' JobManager."""
    configuration = Configuration()
    for name, value in (settings.remote(NAME) | JOB_OPTIONS).items():
        configuration.set_string(name, value)
    return TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    )


def statement_set(settings: Settings) -> StatementSet:
    """The whole job, planned and not yet submitted."""
    tables = environment(settings)
    for statement in connectors.statements(settings):
        tables.execute_sql(statement)
    tables.create_temporary_function("decide", function(settings.operator, settings.ledger))
    tables.create_temporary_view("decided", tables.sql_query(DECIDED.format(headers=HEADERS[settings.operator])))
    # One set, one plan: both sinks read the same evaluation of the function.
    statements = tables.create_statement_set()
    for statement in (PRICED, REJECTED):
        statements.add_insert_sql(statement)
    return statements


def main() -> None:
    """Submit, and return: the job lives on the cluster."""
    settings = Settings.from_environment(os.environ, job=NAME)
    submitted = statement_set(settings).execute()
    sys.stdout.write(f"{NAME}: submitted as {submitted.get_job_client().get_job_id()}\n")


if __name__ == "__main__":
    main()
