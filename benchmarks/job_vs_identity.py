"""price_job's CPU per event against an identity job: same topics, same thread mode, same messages.

Run: `uv run python -m benchmarks.job_vs_identity`. Two fresh stacks, one after the other.
"""

import os
import time

from benchmarks.stack import cpu_of, end_offsets, produce, producer, stack_of, wait_until
from benchmarks.workload import messages
from tokenledger.records.topics import PRICED, REJECTED

_WARM, _MEASURED = 60_000, 150_000
_PROGRAMS = ("postgres", "kafka", "jobmanager", "taskmanager", "price_job")


def measure(operator: str) -> float:
    """CPU µs of the TaskManager per event, after a warm-up."""
    os.environ["TOKENLEDGER_OPERATOR"] = operator
    end_us = time.time_ns() // 1000
    with stack_of(_PROGRAMS) as stack:

        def written() -> int:
            return end_offsets(stack, PRICED.name) + end_offsets(stack, REJECTED.name)

        client = producer(stack)
        produce(client, messages(_WARM, seed=1, end_us=end_us))
        wait_until(lambda: written() >= _WARM)
        before = cpu_of(stack)["taskmanager"]
        produce(client, messages(_MEASURED, seed=2, end_us=end_us))
        wait_until(lambda: written() >= _WARM + _MEASURED)
        return (cpu_of(stack)["taskmanager"] - before) / _MEASURED * 1e6


def main() -> None:
    """Print the ratio."""
    identity_us, price_us = measure("identity"), measure("price")
    print("| job | TaskManager CPU µs an event | ÷ identity |")
    print("|---|---|---|")
    print(f"| identity | {identity_us:.1f} | 1.0× |")
    print(f"| price_job | {price_us:.1f} | {price_us / identity_us:.2f}× |")


if __name__ == "__main__":
    main()
