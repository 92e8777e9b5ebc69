"""Real Kafka and Flink into ledger and lake: what `tokenledger send --capture` brings is there, redacted and equal."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ledger.database import connect
from ledger.lake import reading, verifying
from ledger.settings import Settings
from tests.integration.conftest import RunningStack
from tests.readers.recordings import CHAT, cloud_event, lines, write
from tokenledger import cli

NOW_US = 1_795_000_000_000_000


def captured(first: int, count: int) -> list[dict[str, Any]]:
    """Calls of two tenants over two days; one in seven is refused, and each says something personal."""
    rows = []
    for n in range(first, first + count):
        body: dict[str, Any] = {
            "provider": "openai",
            "request": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"I am p{n}@example.com"}]},
            "response": CHAT | {"id": f"chatcmpl-lake-{n}"},
            "started_at_us": NOW_US - (n % 2) * 86_400_000_000,
            "user_id": f"user-{n % 3}",
        }
        if n % 7 == 0:
            body["response"] = CHAT | {"id": f"chatcmpl-lake-{n}", "usage": {"prompt_tokens": -1}}
        rows.append(cloud_event(body, f"lake-{n}", "lake-yes" if n % 2 else "lake-no"))
    return rows


def differences(stack: RunningStack) -> list[str]:
    settings = Settings.from_environment(os.environ | stack.layout.client_environment(), user="analyst")
    with connect(settings, application="test") as connection:
        found = verifying.verify(stack.layout.lake, connection).differences
    # The stack is shared: other tests reprice calls, and the lake keeps the first price.
    return [str(one) for one in found if "lake-" in one.where]


def texts(stack: RunningStack) -> list[str]:
    return [text.messages for text in reading.texts(stack.layout.lake, tenants=["lake-yes", "lake-no"])]


def send(stack: RunningStack, path: str) -> None:
    layout = stack.layout
    command = ["send", path, "--capture", "--bootstrap", layout.kafka_bootstrap, "--consent", str(layout.consent)]
    assert cli.main([*command, "--quiet"]) == 0


def test_the_lake_equals_the_ledger_through_a_kill_and_holds_consented_texts_only(
    stack: RunningStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.allow_texts("lake-yes")
    send(stack, write(tmp_path, "a.jsonl", lines(*captured(0, 140))))
    assert "70 records of tenant 'lake-no' were sent without texts" in capsys.readouterr().err
    stack.kill("archive")
    send(stack, write(tmp_path, "b.jsonl", lines(*captured(140, 140))))
    stack.wait_until(lambda: len(texts(stack)) >= 120 and differences(stack) == [], "lake and ledger to agree")
    said = texts(stack)
    assert len(said) == 120, "140 of the consenting tenant, a seventh refused"
    assert all(json.loads(one)[0]["content"] == "I am <EMAIL_ADDRESS_1>" for one in said)
    assert cli.main(["lake", "--lake", str(stack.layout.lake), "manifest"]) == 0
    assert cli.main(["lake", "--lake", str(stack.layout.lake), "compact"]) == 0
    assert differences(stack) == []
    assert cli.main(["lake", "--lake", str(stack.layout.lake), "verify", "--without-ledger"]) == 0
    assert "the lake is right" in capsys.readouterr().out
