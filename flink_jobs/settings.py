"""What a Flink job is told from outside: read once, in the process that submits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One job's settings."""

    kafka_bootstrap: str
    """Brokers as host:port, comma separated."""
    rest_host: str
    """Where the JobManager takes the job."""
    rest_port: int
    """The port of its REST interface."""
    operator: Operator
    """`price` is the product; `identity` moves the same bytes undecided, for benchmarks."""
    consumer_group: str
    """Its committed offsets are where a new submission goes on."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Defaults are those of nothing: what is not stated is an error that names it."""
        host, _, port = environment["TOKENLEDGER_FLINK_REST"].removeprefix("http://").partition(":")
        return cls(
            kafka_bootstrap=environment["TOKENLEDGER_KAFKA_BOOTSTRAP"],
            rest_host=host,
            rest_port=int(port),
            operator=_operator(environment.get("TOKENLEDGER_OPERATOR", "price")),
            consumer_group=environment.get("TOKENLEDGER_PRICE_JOB_GROUP", "price_job"),
        )


def _operator(text: str) -> Operator:
    if text == "price":
        return "price"
    if text == "identity":
        return "identity"
    message = f"TOKENLEDGER_OPERATOR: {text!r} is no operator; write 'price' or 'identity'"
    raise ValueError(message)
