"""How `make demo-gateway` shows what it found: features side by side, one request with its lines and its time."""

import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

from feature_repo.online import Features
from tokenledger.records.features import TrafficFeatures

_SHOWN = (
    ("calls", "calls in the minute", "{:,.0f}", 1.0),
    ("tokens_per_min", "tokens a minute", "{:,.0f}", 1.0),
    ("error_ratio", "errors", "{:.1%}", 1.0),
    ("rate_limited_ratio", "of them rate limits", "{:.1%}", 1.0),
    ("ttft_us_p50", "time to first token, p50", "{:.3f} s", 1e-6),
    ("ttft_us_p95", "time to first token, p95", "{:.3f} s", 1e-6),
    ("tpot_us_p50", "time a token, p50", "{:.2f} ms", 1e-3),
    ("total_us_p95", "whole call, p95", "{:.3f} s", 1e-6),
    ("output_tokens_per_call", "output tokens a call", "{:.1f}", 1.0),
)
_PARTS = ("admit", "guard", "cache", "route", "retrieve", "network", "queue", "prefill", "first_token_wait", "decode",
          "unattributed")  # fmt: skip
_CALL = """
    SELECT posting_id, tenant_id, feature, route, route_tier, deployment_id, response_id, status,
        price_status, usage_source, attempt_no, cost_usd_pico, started_at_us, total_us, ttft_us, tpot_us, admit_us,
        guard_us, cache_us, route_us, retrieve_us, network_us, queue_us, prefill_us, first_token_wait_us, decode_us,
        unattributed_us, token_times_us
    FROM calls WHERE user_id = %s ORDER BY status = 'ok' DESC, started_at_us DESC LIMIT 1
"""
_LINES = """
    SELECT meter, quantity, amount_usd_pico FROM lines JOIN rates USING (rate_no)
    WHERE posting_id = %s ORDER BY meter
"""


def heading(step: str, text: str) -> None:
    """A step begins."""
    print(f"\n[{step}] {text}", flush=True)


def vectors(before: Features[TrafficFeatures], after: Features[TrafficFeatures]) -> None:
    """Two feature vectors side by side, each with its age when it was read."""
    ends = [time.strftime("%H:%M:%S", time.gmtime((one.event_at_us or 0) / 1e6)) for one in (before, after)]
    print(f"\n  {'minute that ended at, UTC':<28}{ends[0]:>14}{ends[1]:>14}\n {'─' * 58}")
    for name, meaning, form, scale in _SHOWN:
        shown = [_shown(getattr(one.values, name), form=form, scale=scale) for one in (before, after)]
        print(f"  {meaning:<28}{shown[0]:>14}{shown[1]:>14}")
    ages = [f"{(one.age_us or 0) / 1e6:.2f} s" for one in (before, after)]
    print(f"  {'age when it could be read':<28}{ages[0]:>14}{ages[1]:>14}")


def _shown(value: float | None, *, form: str, scale: float) -> str:
    return "—" if value is None else form.format(value * scale)


def explain_stream(connection: psycopg.Connection[Any], user: str) -> None:
    """One call: who, what it cost line by line, where its time went; both sums are shown to be sums."""
    with connection.cursor(row_factory=dict_row) as cursor:
        call = cursor.execute(_CALL, [user]).fetchone()
        assert call is not None  # noqa: S101 - it was waited for
        lines = cursor.execute(_LINES, [call["posting_id"]]).fetchall()
    print(
        f"\n  {call['response_id']}  attempt {call['attempt_no']} at {call['deployment_id']}"
        f"  {call['status']}, {call['price_status']}, usage {call['usage_source']}\n"
        f"  {call['tenant_id']} / {call['feature']}, asked for {call['route']}\n"
    )
    costs = [f"{line['meter']:<26}{line['quantity']:>7,}{line['amount_usd_pico'] / 1e12:>15.12f}" for line in lines]
    costs.append(f"{'cost, USD':<33}{(call['cost_usd_pico'] or 0) / 1e12:>15.12f}")
    times = [f"{part:<18}{call[f'{part}_us'] / 1000:>10.3f} ms" for part in _PARTS if call[f"{part}_us"] is not None]
    times.append(f"{'total':<18}{call['total_us'] / 1000:>10.3f} ms")
    for place in range(max(len(costs), len(times))):
        left = costs[place] if place < len(costs) else ""
        print(f"  {left:<52}{times[place] if place < len(times) else ''}")
    first_ms, next_ms = (call["ttft_us"] or 0) / 1000, (call["tpot_us"] or 0) / 1000
    print(f"  first token after {first_ms:.1f} ms, then {next_ms:.2f} ms a token")


def say_next(journal: str) -> None:
    """Where to look next."""
    print(
        "\nThree things to try next:\n"
        f"  uv run tokenledger price {journal}      what the callers were told, priced with no server\n"
        "  uv run tokenledger costs --by tenant,feature      who spent it, and on what\n"
        "  uv run tokenledger budgets list      what each tenant may still spend"
    )
