"""What a Flink job is told from outside: read once, in the process that submits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ledger.settings import Settings as Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

Operator = Literal["price", "identity"]

JOB_OPTIONS: Final = {
    # Without reuse every operator copies each row for the next one.
    "pipeline.object-reuse": "true",
    # Threads of one process share one interpreter lock: scale by TaskManagers.
    "parallelism.default": "1",
    "python.execution-mode": "thread",
    # A checkpoint commits the group's offsets, and there the job goes on after a restart. These stand here because a
    # job takes them from the client that submits it, not from the cluster's configuration.
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.mode": "AT_LEAST_ONCE",
    "execution.checkpointing.timeout": "60 s",
    "execution.checkpointing.tolerable-failed-checkpoints": "2147483647",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "2147483647",
    "restart-strategy.fixed-delay.delay": "500 ms",
}
"""Flink's options of every job of ours."""

WINDOWS_OPTIONS: Final = JOB_OPTIONS | {
    # The counts and the offsets they reach to are one state; with a single input this costs nothing over at-least-once.
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.interval": "10 s",
    "execution.checkpointing.storage": "filesystem",
    # A killed JobManager forgets the job, and the next submission resumes from what is kept here.
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "execution.checkpointing.num-retained": "2",
}
"""Flink's options of windows_job, whose state is its own."""

MEMORY_US: Final = 2 * 3600 * 1_000_000
"""Without a checkpoint windows_job reads this much of the log: an hour of views and an hour for late calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every job is told."""

    kafka_bootstrap: str
    """Brokers as host:port, comma separated."""
    rest_host: str
    """Where the JobManager takes the job."""
    rest_port: int
    """The port of its REST interface."""
    operator: Operator
    """`price` is the product; `identity` moves the same bytes undecided, for benchmarks."""
    ledger: Ledger | None
    """Where the price book is followed; None prices by the packaged one."""
    consumer_group: str
    """Its committed offsets are where a new submission of price_job goes on."""
    checkpoints: str
    """Folder of windows_job's checkpoints."""
    resume_from: str
    """The checkpoint or savepoint a submission of windows_job goes on from; empty begins anew."""
    disorder_us: int
    """How long after its end windows_job waits for a call before it closes the minute."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, job: str) -> Settings:
        """Defaults are those of nothing: what is not stated is an error that names it."""
        host, _, port = environment["TOKENLEDGER_FLINK_REST"].removeprefix("http://").partition(":")
        return cls(
            kafka_bootstrap=environment["TOKENLEDGER_KAFKA_BOOTSTRAP"],
            rest_host=host,
            rest_port=int(port),
            operator=_operator(environment.get("TOKENLEDGER_OPERATOR", "price")),
            ledger=_ledger(environment),
            consumer_group=environment.get(f"TOKENLEDGER_{job.upper()}_GROUP", job),
            checkpoints=environment.get("TOKENLEDGER_CHECKPOINTS", ""),
            resume_from=environment.get("TOKENLEDGER_RESUME_FROM", ""),
            disorder_us=1000 * int(environment.get("TOKENLEDGER_WINDOWS_DISORDER_MS", "1000")),
        )

    def remote(self, name: str) -> dict[str, str]:
        """Flink's options that bring a job of this name to the settings' JobManager."""
        return {
            "execution.target": "remote",
            "rest.address": self.rest_host,
            "rest.port": str(self.rest_port),
            "pipeline.name": name,
        }

    def recovery(self) -> dict[str, str]:
        """Flink's options of where state is kept and taken from."""
        kept = {"execution.checkpointing.dir": f"file://{self.checkpoints}"}
        if not self.resume_from:
            return kept
        # A checkpoint is taken over and removed when a newer one is there; a savepoint stays whoever made it's.
        mode = "NO_CLAIM" if "savepoint-" in self.resume_from else "CLAIM"
        return kept | {
            "execution.state-recovery.path": f"file://{self.resume_from}",
            "execution.state-recovery.claim-mode": mode,
        }


def _ledger(environment: Mapping[str, str]) -> Ledger | None:
    where = environment.get("TOKENLEDGER_PRICE_BOOK", "packaged")
    if where == "packaged":
        return None
    if where == "ledger":
        return Ledger.from_environment(environment, user="pricing")
    message = f"TOKENLEDGER_PRICE_BOOK: {where!r} is no price book; write 'packaged' or 'ledger'"
    raise ValueError(message)


def _operator(text: str) -> Operator:
    if text == "price":
        return "price"
    if text == "identity":
        return "identity"
    message = f"TOKENLEDGER_OPERATOR: {text!r} is no operator; write 'price' or 'identity'"
    raise ValueError(message)
