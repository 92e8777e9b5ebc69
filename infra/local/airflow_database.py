"""Airflow's tables at its own version, and its pools. Runs with Airflow's Python, never imported by the stack."""

import sys

from airflow.models.pool import Pool
from airflow.utils.db import initdb

from infra.local.airflow import POOLS


def main() -> int:
    """Migrate the database and set the pools; both do nothing the second time."""
    initdb()
    for name, (slots, description) in POOLS.items():
        Pool.create_or_update_pool(name, slots=slots, description=description, include_deferred=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
