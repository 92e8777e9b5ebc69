"""A cascade as a process before simulated tiers: right answers, one bill, and nothing lost when it is killed."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import OpenAI

from serving.gateway import epochs
from serving.gateway.records import Intent, Outcome
from serving.gateway.shipping import EpochShipper
from serving.gateway.tailing import Tail
from serving.simulator.answering import prompts
from tests.integration.gateways import Alone, alone
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

TIERS = """
[[tiers]]
name = "small-a"
models = ["gpt-4o-mini"]
slots = 200
ttft_us_p50 = 60_000
tpot_us_p50 = 1_000
output_tokens_p50 = 20
accuracy = 0.7

[[tiers]]
name = "small-b"
models = ["gpt-4.1-nano"]
slots = 200
ttft_us_p50 = 60_000
tpot_us_p50 = 1_000
output_tokens_p50 = 20
accuracy = 0.7

[[tiers]]
name = "large-a"
models = ["gpt-4o"]
slots = 200
ttft_us_p50 = 150_000
tpot_us_p50 = 2_000
output_tokens_p50 = 20
accuracy = 1.0
"""

POLICY = """
[tiers.small]
provider = "openai"
model = "gpt-4o-mini"
input_usd_pico_per_token = 150_000
output_usd_pico_per_token = 600_000

[tiers.large]
provider = "openai"
model = "gpt-4o"
input_usd_pico_per_token = 2_500_000
output_usd_pico_per_token = 10_000_000

[routes.chat]
tiers = ["small", "large"]
static_tier = "small"
without_features = "prompt"
explore = 0.0
"""

MODELS = {"small-a": "gpt-4o-mini", "small-b": "gpt-4.1-nano", "large-a": "gpt-4o"}


def cascade_of(served: Alone, folder: Path, mode: str) -> str:
    """The cascade's part of a configuration."""
    (folder / "router.toml").write_text(POLICY, encoding="utf-8")
    upstreams = "".join(
        f'[upstreams."c-{name}"]\nprovider = "openai"\ntier = "{name.partition("-")[0]}"\nmodel = "{model}"\n'
        f'key_file = "{folder / name}.key"\nreplicas = [{{ url = "{served.fleet.url(name)}" }}]\n'
        for name, model in MODELS.items()
    )
    names = ", ".join(f'"c-{name}"' for name in MODELS)
    return (
        f'[router]\npolicy_file = "{folder / "router.toml"}"\nmodels_dir = "{folder / "models"}"\n{upstreams}'
        f'[routes.chat]\nupstreams = [{names}]\n[routes.chat.cascade]\npolicy = "chat"\n{mode}\n'
    )


VERIFY = 'mode = "verify-first"\nsecond_opinion = "c-small-b"'


class Served:
    """A gateway whose cascade can be changed while it runs."""

    def __init__(self, gateway: Alone, folder: Path) -> None:
        self.alone = gateway
        self.folder = folder
        self._plain = (folder / "gateway.toml").read_text(encoding="utf-8")

    def adopt(self, mode: str) -> None:
        """From now on, this mode."""
        reloads = self.alone.gateway.metric("tokenledger_gateway_config_reloads_total")
        text = self._plain + cascade_of(self.alone, self.folder, mode)
        (self.folder / "gateway.toml").write_text(text, encoding="utf-8")
        deadline = time.monotonic() + 20
        while self.alone.gateway.metric("tokenledger_gateway_config_reloads_total") == reloads:
            assert time.monotonic() < deadline, self.alone.gateway.log()[-2000:]
            time.sleep(0.1)

    async def ask(self, session: aiohttp.ClientSession, question: str, **more: Any) -> tuple[dict[str, str], Any]:
        """Headers and body of one answer."""
        body = {"model": "chat", "messages": [{"role": "user", "content": question}]} | more
        headers = {"authorization": f"Bearer {self.alone.key}"}
        url = f"{self.alone.gateway.url}/chat/completions"
        async with session.post(url, json=body, headers=headers) as reply:
            found = await reply.json()
            assert reply.status == 200, found
            return dict(reply.headers), found

    async def ask_all(self, questions: list[str]) -> list[tuple[dict[str, str], Any]]:
        """All at once."""
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(self.ask(session, question) for question in questions))

    def outbox(self) -> tuple[list[Intent], list[Outcome]]:
        """What stands in it now."""
        found: list[Intent | Outcome] = []
        for epoch in epochs.listed(self.folder / "outbox"):
            tail = Tail(epoch)
            while part := tail.read():
                found += part
        return [one for one in found if isinstance(one, Intent)], [one for one in found if not isinstance(one, Intent)]

    def whole_outbox(self) -> tuple[list[Intent], list[Outcome]]:
        """The same, once every attempt's outcome is written."""
        deadline = time.monotonic() + 10
        while True:
            intents, outcomes = self.outbox()
            if len(intents) == len(outcomes):
                return intents, outcomes
            assert time.monotonic() < deadline, f"{len(intents)} intents, {len(outcomes)} outcomes"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cascade")
    # Every question is asked at once: retries are not what is tried here.
    with alone(TIERS, folder, extra="retries.burst = 1_000") as gateway:
        yield Served(gateway, folder)


QUESTIONS = prompts(60, seed=5)


def _is_right(answer: Any, label: str) -> bool:
    return str(answer["choices"][0]["message"]["content"]).startswith(f"Answer: {label}.")


def test_answers_that_agree_are_nearly_always_right_and_the_others_are_the_strongest_tiers(served: Served) -> None:
    served.adopt(VERIFY)
    before = len(served.outbox()[0])
    answers = asyncio.run(served.ask_all([one.prompt for one in QUESTIONS]))
    checks = Counter(headers["x-tokenledger-check"] for headers, _ in answers)
    assert checks.keys() == {"agreed", "strongest"}
    assert checks["agreed"] > len(QUESTIONS) * 0.4
    rights = [_is_right(answer, one.answer) for (_, answer), one in zip(answers, QUESTIONS, strict=True)]
    assert sum(rights) >= 0.95 * len(QUESTIONS)
    _is_one_bill(served, before=before, operations=len(QUESTIONS))


def _is_one_bill(served: Served, *, before: int, operations: int) -> None:
    """Each attempt stands once with its outcome, and each operation was answered by exactly one of its attempts."""
    intents, outcomes = served.whole_outbox()
    ends = {one.event_id: one for one in outcomes}
    assert len(ends) == len(outcomes)
    of_operation: dict[str, list[Intent]] = defaultdict(list)
    for one in intents[before:]:
        assert one.event_id in ends
        of_operation[one.operation_id].append(one)
    assert len(of_operation) == operations
    for attempts in of_operation.values():
        assert [one.decision is not None for one in attempts].count(True) == 1
        assert sorted(one.attempt_no for one in attempts) == list(range(1, len(attempts) + 1))
        assert len(attempts) <= 6
        assert [ends[one.event_id].served for one in attempts].count(True) == 1


def test_speculation_is_paid_for_and_shortens_what_is_escalated(served: Served) -> None:
    served.adopt(VERIFY + "\nspeculate = 0.0")
    before = len(served.outbox()[0])
    answers = asyncio.run(served.ask_all([one.prompt for one in QUESTIONS[:20]]))
    assert all("x-tokenledger-cost" in headers for headers, _ in answers), "also what was cancelled has a cost"
    _is_one_bill(served, before=before, operations=20)
    intents, outcomes = served.whole_outbox()
    ends = {one.event_id: one for one in outcomes}
    hedges = [ends[one.event_id] for one in intents[before:] if one.attempt_role == "hedge"]
    assert len(hedges) == 20
    assert {one.error_type for one in hedges} <= {None, "not_needed"}


def test_openais_client_streams_a_checked_answer(served: Served) -> None:
    served.adopt(VERIFY)
    client = OpenAI(base_url=served.alone.gateway.url, api_key=served.alone.key, max_retries=0)
    question = QUESTIONS[0]
    stream = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": question.prompt}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.startswith("Answer: ")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_shadow_changes_nothing_but_what_is_logged(served: Served) -> None:
    served.adopt('mode = "shadow"')
    before = len(served.outbox()[0])
    asyncio.run(served.ask_all([one.prompt for one in QUESTIONS[:5]]))
    intents = served.outbox()[0][before:]
    assert {one.attempt_role for one in intents} == {"primary"}
    assert {one.deployment_id for one in intents} == {"c-small-a"}
    assert [one.decision.mode for one in intents if one.decision is not None] == ["shadow"] * 5


def test_killed_in_mid_check_each_attempt_is_one_call(served: Served) -> None:
    served.adopt(VERIFY + "\nspeculate = 0.0")
    before = len(served.whole_outbox()[1])

    async def load_and_kill() -> None:
        asking = asyncio.gather(served.ask_all([one.prompt for one in QUESTIONS]), return_exceptions=True)
        for _ in range(200):
            await asyncio.sleep(0.05)
            if (
                len((await asyncio.to_thread(served.outbox))[1]) > before
            ):  # some have their answer, others are in the middle
                break
        await asyncio.to_thread(served.alone.gateway.kill)
        await asking

    asyncio.run(load_and_kill())
    intents, outcomes = served.outbox()
    assert len(intents) > len(outcomes), "the kill met attempts under way"
    calls: dict[str, list[PricedCall]] = defaultdict(list)
    for epoch in epochs.listed(served.folder / "outbox"):
        shipper = EpochShipper(epoch, keep_s=0)
        for _ in range(100):
            if shipper.ended:
                break
            for shipment in shipper.next():
                priced = process(shipment.raw, default_context())
                assert isinstance(priced, PricedCall)
                if priced.call.status != "in_progress":
                    calls[priced.call.event_id].append(priced)
            shipper.acknowledged()
        assert shipper.ended
        shipper.close()
    assert calls.keys() == {one.event_id for one in intents}
    assert {len(records) for records in calls.values()} == {1}
    orphans = [one for [one] in calls.values() if one.call.error_type == "gateway_ended"]
    # Outcomes of the last 50 ms stand in a mapped file that only the shipper reads.
    assert 0 < len(orphans) <= len(intents) - len(outcomes)
    assert all(one.call.decision is None or one.call.attempt_no == 1 for [one] in calls.values())
