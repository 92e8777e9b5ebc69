"""Topics: created when missing; what differs from the table is reported, never changed silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka.admin import (  # type: ignore[attr-defined] # it re-exports without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from tokenledger.records.topics import CAPTURED, TOPICS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER_WITHIN_S = 20.0


def ensure(bootstrap: str) -> tuple[list[str], list[str]]:
    """Names of the topics made, and one sentence for each that differs from the table."""
    # Its own words about how it ends are of no use to who types `make up`.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    there = admin.list_topics(timeout=_ANSWER_WITHIN_S).topics
    wanted = (*TOPICS, *CAPTURED)
    missing = [topic for topic in wanted if topic.name not in there]
    if missing:
        _create(admin, missing)
    partitions = {name: len(metadata.partitions) for name, metadata in there.items()}
    kept = [topic for topic in wanted if topic.name in there]
    differences = [line for topic in kept for line in _differences(admin, topic, partitions)]
    return [topic.name for topic in missing], differences


def _create(admin: AdminClient, topics: list[Topic]) -> None:
    wanted = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=1,
            config=dict(topic.config),
        )
        for topic in topics
    ]
    for made in admin.create_topics(wanted, operation_timeout=_ANSWER_WITHIN_S).values():
        made.result(timeout=_ANSWER_WITHIN_S)


def _differences(admin: AdminClient, topic: Topic, partitions: dict[str, int]) -> Iterator[str]:
    if partitions[topic.name] != topic.partitions:
        yield f"{topic.name}: {partitions[topic.name]} partitions, the table says {topic.partitions}"
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    [described] = admin.describe_configs([resource]).values()
    actual = described.result(timeout=_ANSWER_WITHIN_S)
    for name, wanted in topic.config.items():
        if (value := actual[name].value) != wanted:
            yield f"{topic.name}: {name} is {value}, the table says {wanted}"
