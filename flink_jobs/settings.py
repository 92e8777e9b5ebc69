"""What a Flink job is told from outside: read once, in the process that submits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Operator = Literal["price", "identity"]


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
