"""asyncapi.yaml: the topics, their keys, headers and values as one AsyncAPI 3 document."""

from importlib.metadata import version
from typing import Any, Final

import yaml

from tokenledger.records.topics import FEATURES, PRICED, RAW, REJECTED, TOPICS, Topic

_BINDING_VERSION: Final = "0.5.0"
_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"

_MESSAGES: Final[dict[str, dict[str, Any]]] = {
    RAW.name: {
        "name": "CallEnvelope",
        "summary": "One model call in the provider's own words.",
        "contentType": "application/json",
        "headers": "raw_headers",
        "payload": "envelope",
    },
    PRICED.name: {
        "name": "PricedCall",
        "summary": "One model call with its cost lines, latency parts and provenance.",
        "contentType": "application/json",
        "headers": None,
        "payload": "priced_call",
    },
    REJECTED.name: {
        "name": "Rejected",
        "summary": "The bytes of a record that could not be understood; the headers say why.",
        "contentType": "application/octet-stream",
        "headers": "rejected_headers",
        "payload": None,
    },
    FEATURES.name: {
        "name": "FeatureWindow",
        "summary": "One minute of one model's or product feature's calls, in counts that add.",
        "contentType": "application/json",
        "headers": None,
        "payload": "feature_window",
    },
}

_OPERATIONS: Final = {
    "sendCall": ("send", RAW.name, "A gateway, an SDK or `tokenledger send` reports a call."),
    "priceCall": ("receive", RAW.name, "The pricing job reads every report."),
    "publishPricedCall": ("send", PRICED.name, "The pricing job publishes what a call cost."),
    "bookPricedCall": ("receive", PRICED.name, "The ledger books it, exactly once."),
    "refuseRecord": ("send", REJECTED.name, "The pricing job or the ledger refuses a record and keeps its bytes."),
    "listRejected": ("receive", REJECTED.name, "The ledger counts refused records and can replay them after a fix."),
    "countCall": ("receive", PRICED.name, "The windows job counts it in its minute."),
    "publishWindow": ("send", FEATURES.name, "The windows job tells a minute when it is over, and again if it grew."),
    "pushFeatures": ("receive", FEATURES.name, "The pusher merges minutes into views and writes them for online use."),
}


def asyncapi() -> str:
    """The document as YAML."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tokenledger",
            "version": version("tokenledger"),
            "description": "LLM calls as they were reported, as they were priced, and as they were refused.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            name: _operation(action, topic, summary=summary) for name, (action, topic, summary) in _OPERATIONS.items()
        },
        "components": {"messages": {_MESSAGES[topic.name]["name"]: _message(topic) for topic in TOPICS}},
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _channel(topic: Topic) -> dict[str, Any]:
    name = _MESSAGES[topic.name]["name"]
    return {
        "address": topic.name,
        "description": f"One record is {topic.meaning}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    setting: int(value) if value.isdecimal() else value for setting, value in topic.config.items()
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operation(action: str, topic: str, *, summary: str) -> dict[str, Any]:
    channel = f"#/channels/{topic}"
    message = f"{channel}/messages/{_MESSAGES[topic]['name']}"
    return {"action": action, "channel": {"$ref": channel}, "summary": summary, "messages": [{"$ref": message}]}


def _message(topic: Topic) -> dict[str, Any]:
    known = _MESSAGES[topic.name]
    message: dict[str, Any] = {name: known[name] for name in ("name", "summary", "contentType")}
    for part in ("headers", "payload"):
        if known[part]:
            schema = {"$ref": f"./json/{known[part]}.schema.json"}
            message[part] = {"schemaFormat": _SCHEMA_FORMAT, "schema": schema}
    key = {"type": "string", "description": f"`{topic.key}`"}
    return message | {"bindings": {"kafka": {"key": key, "bindingVersion": _BINDING_VERSION}}}
