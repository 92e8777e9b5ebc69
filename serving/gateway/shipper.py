"""Outbox → Kafka: sends every intent and outcome of every epoch to `llm.raw.v1`, and closes what a dead gateway left.

At least once: the ledger counts a repeated record once. While Kafka is away it waits, the outbox grows to its bound,
and the gateway refuses what it could not account for.
"""

import fcntl
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from ledger.ending import Stop, run_supervised
from ledger.observing import Pulse, logger, serve
from serving.gateway import epochs
from serving.gateway.account_metrics import SHIPPED, SHIPPER_BEHIND, SHIPPER_EPOCHS
from serving.gateway.shipping import EpochShipper, Shipment
from tokenledger.records.topics import RAW

log = logger("serving.gateway.shipper")

_POLL_S: Final = 0.025
_ABANDONED_AFTER_S: Final = 60.0
_LOCK: Final = "shipper.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipperSettings:
    """Settings of the shipper."""

    outbox_folder: Path
    """The gateway's `outbox_folder`."""
    kafka_bootstrap: str
    """Kafka brokers."""
    metrics_port: int | None
    """Port of /metrics and /healthz on 127.0.0.1; None for neither."""
    keep_s: float
    """How long a segment is kept after it was shipped, for a gateway that starts to learn what is not in the ledger."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ShipperSettings":
        """Read `TOKENLEDGER_…`."""
        root = Path(environment.get("TOKENLEDGER_STACK_ROOT", ".local/stack"))
        folder = environment.get("TOKENLEDGER_OUTBOX_FOLDER")
        port = environment.get("TOKENLEDGER_METRICS_PORT")
        return cls(
            outbox_folder=Path(folder) if folder else root / "data" / "outbox",
            kafka_bootstrap=environment.get("TOKENLEDGER_KAFKA_BOOTSTRAP", "127.0.0.1:29092"),
            metrics_port=int(port) if port else None,
            keep_s=float(environment.get("TOKENLEDGER_OUTBOX_KEEP_S", "30")),
        )


class DeliveryFailedError(Exception):
    """Kafka refused a record; what is not acknowledged is sent again after a restart."""


class Sending:
    """A producer, and what it has not answered for yet."""

    def __init__(self, bootstrap: str) -> None:
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                # As every producer of this topic: one call's records lie in one partition.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                # A broker that is away is waited for: the outbox holds what it cannot take.
                "delivery.timeout.ms": 0,
                "queue.buffering.max.messages": 20_000,
                "log_level": 3,
            }
        )

    def send(self, shipment: Shipment) -> None:
        """Hand over; `settled` tells when it is acknowledged."""
        raw = shipment.raw
        headers: list[tuple[str, str | bytes | None]] = list(raw.headers.items())
        while True:
            try:
                self._producer.produce(RAW.name, raw.value, raw.key, headers=headers, on_delivery=self._answered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _answered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error

    def settled(self, within_s: float) -> bool:
        """Whether everything handed over is acknowledged by now. Raises DeliveryFailedError."""
        left = self._producer.flush(within_s)
        if self._failure is not None:
            raise DeliveryFailedError(self._failure.str())
        return left == 0


class Shipper:
    """All epochs of one outbox."""

    def __init__(self, settings: ShipperSettings, sending: Sending) -> None:
        self._settings = settings
        self._sending = sending
        self._epochs: dict[Path, EpochShipper] = {}
        self._waiting: Counter[str] = Counter()
        self._settled = True
        self._told_s = 0.0

    def turn(self, stop: Stop, pulse: Pulse) -> bool:
        """Ship what there is; whether there was anything. Ends early, with nothing noted, when asked to stop."""
        self._look_for_epochs()
        self._settled = False
        shipments = [shipment for epoch in self._epochs.values() for shipment in epoch.next()]
        for shipment in shipments:
            self._sending.send(shipment)
            self._waiting[shipment.kind] += 1
        while not self._sending.settled(0.5):
            pulse.beat()
            if stop.asked:
                return False
        self._settled = True
        for kind, count in self._waiting.items():
            SHIPPED.labels(kind).inc(count)
        self._waiting.clear()
        for epoch in self._epochs.values():
            epoch.acknowledged()
        self._remove_ended()
        self._tell()
        return bool(shipments)

    def _look_for_epochs(self) -> None:
        for folder in epochs.listed(self._settings.outbox_folder):
            if folder not in self._epochs:
                self._epochs[folder] = EpochShipper(folder, keep_s=self._settings.keep_s)
                log.info("reading an epoch", extra={"facts": {"epoch": folder.name}})

    def _remove_ended(self) -> None:
        for folder, epoch in list(self._epochs.items()):
            if epoch.removable():
                epochs.remove(folder)
                epoch.close()
                del self._epochs[folder]
                log.info("an epoch is shipped to its end", extra={"facts": {"epoch": folder.name}})

    def _tell(self) -> None:
        if time.monotonic() - self._told_s >= 1:
            self._told_s = time.monotonic()
            SHIPPER_EPOCHS.set(sum(not epoch.ended for epoch in self._epochs.values()))
            SHIPPER_BEHIND.set(sum(epoch.behind_bytes() for epoch in self._epochs.values()))

    def close(self) -> None:
        """Read no more; what is acknowledged is noted, so that the next shipper sends nothing again."""
        for epoch in self._epochs.values():
            if self._settled:
                epoch.acknowledged(at_once=True)
            epoch.close()


def run(settings: ShipperSettings, stop: Stop) -> None:
    """Ship until asked to stop."""
    root = settings.outbox_folder
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    while not _locked(lock):
        if stop.asked:
            return
        time.sleep(_POLL_S)
    epochs.remove_unborn(root, older_than_s=_ABANDONED_AFTER_S)
    pulse = Pulse(limit_s=60.0)
    serve(settings.metrics_port, pulse)
    shipper = Shipper(settings, Sending(settings.kafka_bootstrap))
    while not stop.asked:
        pulse.beat()
        if not shipper.turn(stop, pulse):
            time.sleep(_POLL_S)
    shipper.close()


def _locked(lock: int) -> bool:
    """Two shippers would delete under each other; the second waits for the first to end."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> int:
    """`python -m serving.gateway.shipper`."""
    settings = ShipperSettings.from_environment(os.environ)
    return run_supervised(lambda stop: run(settings, stop), log)


if __name__ == "__main__":
    sys.exit(main())
