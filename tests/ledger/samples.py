"""Priced calls for the ledger's tests, made up whole."""

from typing import Any

from msgspec.structs import replace

from tokenledger.merge import fingerprint, rank
from tokenledger.records import Call, Latency, Line, PricedCall, Timings
from tokenledger.records.decision import RouteDecision

NOW_US = 1_760_000_000_000_000  # 2025-10-09T08:53:20Z
RAW = "llm.raw.v1"


def call(**changes: Any) -> Call:
    """A plain call of tenant acme."""
    plain = Call(
        tenant_id="acme",
        event_id="e1",
        event_key="app/e1",
        feature="chat",
        provider="openai",
        api="chat",
        request_model="m-1",
        response_model="m-1-2025",
        usage={"input.text": 100, "output.text": 10},
        input_tokens=100,
        output_tokens=10,
        usage_source="reported",
        explicit_leaves=2,
        started_at_us=NOW_US,
        event_time_source="started_at",
        ended_at_us=NOW_US + 900_000,
    )
    return replace(plain, **changes)


def line(meter: str, quantity: int, *, pico: int = 2_000, model: str | None = None) -> Line:
    """A line at `pico` a unit."""
    return Line(
        meter=meter,
        quantity=quantity,
        amount_usd_pico=quantity * pico,
        list_amount_usd_pico=quantity * pico,
        list_pico=pico,
        contracted_pico=pico,
        price_id=f"{meter}@{pico}",
        matched=f"catalogue openai m-1 {meter}",
        model=model,
    )


def priced(made: Call, *, offset: int, partition: int = 0, **changes: Any) -> PricedCall:
    """The call with one line a meter, as record `offset` of a raw partition."""
    lines = tuple(line(meter, quantity) for meter, quantity in made.usage.items())
    known = sum(one.amount_usd_pico for one in lines)
    print_ = fingerprint(made)
    plain = PricedCall(
        call=made,
        lines=lines,
        price_status="priced",
        cost_usd_pico=known,
        known_cost_usd_pico=known,
        computed_usd_pico=known,
        priced_provider="openai",
        priced_model="m-1",
        book_version="book-1",
        latency=Latency(total_us=900_000, ttft_us=100_000, first_token_wait_us=100_000, decode_us=800_000),
        fingerprint=print_,
        rank=rank(made, print_),
        topic=RAW,
        partition=partition,
        offset=offset,
        append_at_us=NOW_US + 1_000_000 + offset,
        code_version="test",
    )
    return replace(plain, **changes)


def decision(**changes: Any) -> RouteDecision:
    """A decision for the small tier, 1 µUSD expected against 9."""
    plain = RouteDecision(
        decision_id="d-1",
        route="chat",
        tier="small",
        reason="good_enough",
        best_tier="small",
        best_reason="good_enough",
        expected_cost_usd_pico=1_000_000,
        strongest_cost_usd_pico=9_000_000,
        confidence=0.75,
        propensity=0.995,
        propensities={"small": 0.995, "large": 0.005},
        features={"small.error_ratio": 0.0, "small.ttft_us_p95": None},
        features_age_us=60_000_000,
        losses={"small": 0.02, "large": 0.0},
        mode="verify-first",
    )
    return replace(plain, **changes)


def full() -> PricedCall:
    """A record that uses every kind of field."""
    return priced(
        call(
            response_key="openai/r1",
            tags={"team": "a"},
            timings=Timings(queue_us=5, total_us=900_000),
            token_times_us=(NOW_US, NOW_US + 1),
            raw_usage={"prompt_tokens": 100, "details": {"x": [1, 2.5, None]}},
            anomalies=("text_bounded",),
            stream=True,
            http_status=200,
            attempt_reason="format",
            decision=decision(),
        ),
        offset=0,
        lines=(line("input.text", 100), line("output.text", 10, model="m-2")),
        anomalies=("text_bounded", "aborted"),
        rate_fallbacks=("service_tier=flex",),
        unpriced_meters=("tool.web_search",),
        cost_usd_pico=None,
    )
