"""Recorded traffic of 17 providers is understood, counted and priced as genai-prices does, or a rule says why not."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conformance.conftest import Recorded
from tokenledger.cli import main
from tokenledger.records import PricedCall

RULES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("disagreements.yaml").read_text())

FAMILIES = {
    "aleph_alpha", "anthropic", "aws.bedrock", "azure.ai.openai", "cohere", "deepseek", "gcp.gemini", "groq",
    "huggingface", "ibm.watsonx.ai", "mistral_ai", "ollama", "openai", "replicate", "together_ai", "voyage_ai",
    "writer", "unknown",
}  # fmt: skip
"""Providers of the recordings; `unknown` are OpenAI-shaped servers on the recorder's own machine."""

OWNERS = {
    "aleph_alpha": {"aleph_alpha"},
    "anthropic": {"anthropic", "aws.bedrock"},
    "bedrock": {"aws.bedrock"},
    "cohere": {"cohere"},
    "gemini": {"gcp.gemini"},
    "huggingface": {"huggingface"},
    "mistral": {"mistral_ai"},
    "ollama": {"ollama"},
    "replicate": {"replicate"},
    "watsonx": {"ibm.watsonx.ai"},
    "writer": {"writer"},
}
"""First part of a reading's name → the providers that speak it. Anybody may speak OpenAI's."""

COMPARED_AT_LEAST = 880
"""Calls of the pinned recordings in which genai-prices finds usage too."""

_COUNT = re.compile(r"(?i)^(?!max_|refresh_).*(tokens|token_?count|eval_count)$")


class Disagreement(NamedTuple):
    """One way in which the two readings of one call differ."""

    place: str
    what: str
    ours: object
    theirs: object


def disagreements(one: Recorded) -> Iterator[Disagreement]:
    """Everything about a call in which genai-prices finds something else."""
    if one.opinion is None:
        return
    if not isinstance(one.result, PricedCall):
        yield Disagreement(one.place, "rejected", one.result.reason.value, one.opinion.counts)
        return
    ours = counts(one.result)
    for name, theirs in one.opinion.counts.items():
        if ours[name] != theirs:
            yield Disagreement(one.place, name, ours[name], theirs)
    price, theirs_pico = one.result.computed_usd_pico, one.opinion.price_usd_pico(one.result.call.started_at_us)
    if price is None and theirs_pico is not None:
        yield Disagreement(one.place, "only_theirs_is_priced", one.result.price_status, theirs_pico)
    elif price is not None and theirs_pico is None:
        yield Disagreement(one.place, "only_ours_is_priced", price, one.opinion.model)
    elif price is not None and theirs_pico is not None and abs(price - theirs_pico) > len(one.result.lines):
        yield Disagreement(one.place, "price", price, theirs_pico)  # a line rounds once, to a whole pico-dollar


def counts(priced: PricedCall) -> dict[str, int]:
    """Our reading in the oracle's terms."""
    call = priced.call

    def all_of(part: str) -> int:
        return sum(quantity for meter, quantity in call.usage.items() if part in meter)

    return {
        "input_tokens": call.input_tokens or 0,
        "output_tokens": call.output_tokens or 0,
        "cache_read_tokens": all_of(".cache_read"),
        "cache_write_tokens": all_of(".cache_write"),
        "output_reasoning_tokens": all_of("output.reasoning"),
    }


def is_explained(rule: dict[str, Any], one: Recorded, found: Disagreement) -> bool:
    """Whether the rule is about this disagreement."""
    if not isinstance(one.result, PricedCall) or rule["what"] != found.what:
        return False
    call = one.result.call
    conditions = {"provider": rule["provider"], "api": rule["api"]} | rule["when"]
    meter = conditions.pop("meter", None)
    if any(getattr(call, name) != value for name, value in conditions.items()) or (meter and meter not in call.usage):
        return False
    expected = rule.get("difference_usd_pico")
    return expected is None or abs(Decimal(str(found.ours)) - Decimal(str(found.theirs)) - expected) <= len(
        one.result.lines
    )


def stated_counts(held: Any) -> Iterator[int]:
    """Positive token counts anywhere in a reply, looked for by name alone."""
    if isinstance(held, list):
        for item in held:
            yield from stated_counts(item)
    elif isinstance(held, str) and "data:" in held:
        lines = (line.removeprefix("data:").strip() for line in held.splitlines())
        yield from stated_counts([json.loads(line) for line in lines if line.startswith("{")])
    elif isinstance(held, dict):
        for name, value in held.items():
            number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else value
            if isinstance(number, int) and _COUNT.search(name.replace("-", "_")):
                yield from [number] if number > 0 else []
            else:
                yield from stated_counts(value)


def reply(one: Recorded) -> list[Any]:
    """Everything of an interaction that came from the provider."""
    return [one.envelope.get(name) for name in ("response", "events", "stream_text", "response_headers")]


def test_every_call_is_counted_and_priced_as_genai_prices_does_or_a_rule_says_why_not(
    recorded: Sequence[Recorded],
) -> None:
    unexplained = [
        found
        for one in recorded
        for found in disagreements(one)
        if not any(is_explained(rule, one, found) for rule in RULES)
    ]
    assert unexplained == []
    assert sum(one.opinion is not None for one in recorded) >= COMPARED_AT_LEAST


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["name"]).replace(" ", "_"))
def test_every_rule_is_still_needed_and_says_why(rule: dict[str, Any], recorded: Sequence[Recorded]) -> None:
    needed = any(is_explained(rule, one, found) for one in recorded for found in disagreements(one))
    assert needed, f"no recording needs the rule {rule['name']!r} any more; take it out"
    assert rule["reason"]
    assert rule["source"]


def test_nothing_that_states_a_count_is_rejected_or_unmetered(recorded: Sequence[Recorded]) -> None:
    missed = []
    for one in recorded:
        is_metered = isinstance(one.result, PricedCall) and bool(one.result.call.usage)
        if not is_metered and any(stated_counts(reply(one))):
            missed.append((one.place, one.result))
    assert missed == []


def test_only_what_is_no_model_call_is_rejected(recorded: Sequence[Recorded]) -> None:
    reasons = Counter(one.result.reason.value for one in recorded if not isinstance(one.result, PricedCall))
    assert reasons.keys() == {"not_a_call"}


def test_a_call_without_an_error_has_a_model_and_a_provider(recorded: Sequence[Recorded]) -> None:
    """`huggingface` endpoints are the one exception: a text-generation server's reply and URL name no model."""
    nameless = {
        (call.provider, call.api)
        for one in recorded
        if isinstance(one.result, PricedCall) and (call := one.result.call).status != "error"
        if not (call.response_model or call.request_model) or not call.provider
    }
    assert nameless <= {("huggingface", "generate")}


def test_a_reply_is_read_in_its_own_provider_s_words(recorded: Sequence[Recorded]) -> None:
    """A shape that is known too loosely takes other providers' replies."""
    strangers = {
        (call.usage_reading, call.provider)
        for one in recorded
        if isinstance(one.result, PricedCall) and (call := one.result.call)
        if call.provider not in OWNERS.get(call.usage_reading.partition(".")[0], {call.provider})
    }
    assert strangers == set()


def test_every_family_of_providers_is_there_with_usage(recorded: Sequence[Recorded]) -> None:
    metered = {one.result.call.provider for one in recorded if isinstance(one.result, PricedCall) and one.result.lines}
    stated = {
        one.result.call.provider for one in recorded if isinstance(one.result, PricedCall) and one.result.call.usage
    }
    assert stated == FAMILIES
    assert metered >= {"openai", "anthropic", "aws.bedrock", "gcp.gemini", "cohere", "mistral_ai", "groq", "deepseek"}


def test_without_its_texts_every_record_has_the_same_outcome(recorded: Sequence[Recorded]) -> None:
    """What the stream is sent is priced as what the file holds."""
    assert [one.place for one in recorded if outcome(one.result) != outcome(one.redacted)] == []


def outcome(result: object) -> tuple[object, ...]:
    """Everything of a result that moves money, time or attribution."""
    if isinstance(result, PricedCall):
        return result.fingerprint, result.lines, result.price_status, result.anomalies
    return getattr(result, "reason", None), getattr(result, "field", None)


def test_every_interaction_of_every_cassette_has_one_outcome(
    samples: Path, recorded: Sequence[Recorded], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cassettes = [yaml.load(path.read_bytes(), yaml.CSafeLoader) for path in samples.rglob("*.yaml")]
    interactions = sum(len(cassette["interactions"]) for cassette in cassettes)
    result = tmp_path / "table.json"
    status = main(["price", str(samples), "--format", "json", "--quiet", "--out", str(result)])
    table = json.loads(result.read_text())
    fate = table["records"]

    assert status == 0
    assert fate["found"] == interactions == len(recorded)
    assert fate["found"] == fate["calls"] + fate["duplicates"] + fate["superseded"] + fate["rejected"]
    assert table["totals"]["calls"] == fate["calls"]
    assert table["unreadable"] == []
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(figures(recorded, table)) + "\n")


def figures(recorded: Sequence[Recorded], table: dict[str, Any]) -> Iterator[str]:
    """What a reader of the test's output wants to know."""
    fate, totals = table["records"], table["totals"]
    yield ", ".join(f"{number:,} {name}" for name, number in fate.items())
    yield f"rejected: {table['rejected']}"
    understood = [one.result for one in recorded if isinstance(one.result, PricedCall)]
    yield f"{len(understood) / len(recorded):.1%} are model calls; none of the others states a count"
    statuses = Counter(result.price_status for result in understood)
    yield "price status: " + ", ".join(f"{number:,} {name}" for name, number in statuses.most_common())
    yield f"of {totals['calls']:,} calls after merging {totals['priced']:,} have a known cost"
    compared = [one for one in recorded if one.opinion is not None]
    differing = sum(any(disagreements(one)) for one in compared)
    yield f"{len(compared):,} compared with genai-prices, {differing} differ, all by a rule"
