"""How `make demo-cascade` shows what it found: two runs side by side, and one escalated request from end to end."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from infra.demo_asking import Heard, Question

_ROLES: Final = """
    SELECT attempt_role, route_tier, priced_model, coalesce(cache_hit, false) AS cache_hit, count(*) AS attempts,
        sum(known_cost_usd_pico)::bigint AS cost_usd_pico, sum(coalesce(chargeable_usd_pico, 0))::bigint AS chargeable
    FROM calls WHERE starts_with(user_id, %s) GROUP BY 1, 2, 3, 4 ORDER BY cost_usd_pico DESC
"""
_SERVED: Final = """
    SELECT DISTINCT ON (operation_id) user_id, route_tier, coalesce(cache_hit, false) AS cache_hit
    FROM calls WHERE starts_with(user_id, %s) AND status = 'ok' AND (served OR attempt_role NOT IN ('verify', 'hedge'))
    ORDER BY operation_id, coalesce(served, false) DESC, attempt_no DESC
"""
_ESCALATED: Final = """
    SELECT * FROM routing_decisions WHERE tenant_id = %s AND escalated AND incomplete_calls = 0
    ORDER BY attempts DESC, incurred_cost_usd_pico DESC LIMIT 1
"""
_ATTEMPTS: Final = """
    SELECT posting_id, attempt_no, attempt_role, attempt_reason, route_tier, priced_model, status, input_tokens,
        output_tokens, known_cost_usd_pico, chargeable_usd_pico, total_us, error_type,
        served
    FROM calls WHERE operation_id = %s AND tenant_id = %s ORDER BY attempt_no
"""
_LINES: Final = """
    SELECT meter, quantity, amount_usd_pico FROM lines JOIN rates USING (rate_no) WHERE posting_id = %s ORDER BY meter
"""
_TIERS: Final = ("small", "medium", "frontier")
_USD: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One run: what it cost, how right it was, who served."""

    heard: Heard
    roles: list[dict[str, Any]]
    served: Counter[str]
    """Tier, or `cache`, → answers."""
    hits: dict[int, str]
    """Request answered by the cache → its answer."""

    @property
    def cost_usd_pico(self) -> int:
        """All of it."""
        return sum(role["cost_usd_pico"] for role in self.roles)


def bills(connection: psycopg.Connection[Any], runs: list[Heard], *, run: str) -> list[Bill]:
    """What the ledger says of each run."""
    found = []
    for heard in runs:
        prefix = f"{run}-{heard.name}-"
        with connection.cursor(row_factory=dict_row) as cursor:
            roles = cursor.execute(_ROLES, [prefix]).fetchall()
            served = cursor.execute(_SERVED, [prefix]).fetchall()
        numbers = {heard.user(run, number): number for number in heard.texts}
        hits = [numbers[row["user_id"]] for row in served if row["cache_hit"] and row["user_id"] in numbers]
        found.append(
            Bill(
                heard=heard,
                roles=roles,
                served=Counter("cache" if row["cache_hit"] else row["route_tier"] or "frontier" for row in served),
                hits={number: heard.texts[number] for number in hits},
            )
        )
    return found


def compared(found: list[Bill]) -> None:
    """Both runs side by side, then the cascade's bill by role and what its cache did."""
    base, cascade = found
    rows = [
        ("cost, USD", *(f"{one.cost_usd_pico * _USD:.6f}" for one in found)),
        ("÷ all frontier", *(f"{one.cost_usd_pico / base.cost_usd_pico:.3f}" for one in found)),
        ("right", *(f"{one.heard.right / len(one.heard.texts):.3f}" for one in found)),
        ("p50, s", *(f"{_quantile(one.heard, 0.5):.2f}" for one in found)),
        ("p99, s", *(f"{_quantile(one.heard, 0.99):.2f}" for one in found)),
        *((f"served by {name}", *(_share(one, name) for one in found)) for name in (*_TIERS, "cache")),
    ]
    print(f"\n  {'':<22}{'all frontier':>14}{'cascade':>14}\n {'─' * 52}")
    for name, *values in rows:
        print(f"  {name:<22}{values[0]:>14}{values[1]:>14}")
    print("\n  The cascade's bill, by what each call was for:\n")
    for role in cascade.roles:
        name = "cache hit" if role["cache_hit"] else role["attempt_role"]
        print(
            f"  {name:<12}{role['route_tier'] or '':<10}{role['priced_model'] or '':<24}{role['attempts']:>6,} calls"
            f"{role['cost_usd_pico'] * _USD:>14.6f} USD, charged {role['chargeable'] * _USD:.6f}"
        )
    _say_hits(cascade)


def _share(one: Bill, name: str) -> str:
    return f"{one.served[name] / max(one.served.total(), 1):.1%}"


def _quantile(heard: Heard, share: float) -> float:
    took = sorted(heard.seconds.values())
    return took[min(int(len(took) * share), len(took) - 1)]


def _say_hits(cascade: Bill) -> None:
    """A hit is wrong where no model gave its answer to the same question, in whatever words."""
    given: dict[Question, set[str]] = {}
    for number, text in cascade.heard.texts.items():
        if number not in cascade.hits:
            given.setdefault(cascade.heard.asks[number].question, set()).add(text)
    wrong = [
        number
        for number, text in cascade.hits.items()
        if text not in given.get(cascade.heard.asks[number].question, ())
    ]
    bound = upper_bound(len(wrong), len(cascade.hits))
    print(
        f"\n  cache         {len(cascade.hits)} hits, {len(wrong)} of them another question's answer;"
        f" with 95 % certainty at most {bound:.1%} are"
    )


def upper_bound(wrong: int, of: int, *, certainty: float = 0.95) -> float:
    """The greatest share of wrong ones with which so few would be seen (Clopper and Pearson, one side)."""
    if wrong >= of:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        seen = sum(math.comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(wrong + 1))
        low, high = (middle, high) if seen > 1 - certainty else (low, middle)
    return high


# One request


def escalated(connection: psycopg.Connection[Any], tenant_id: str) -> dict[str, Any] | None:
    """The decision whose operation made most attempts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found: dict[str, Any] | None = cursor.execute(_ESCALATED, [tenant_id]).fetchone()
    return found


def explained(connection: psycopg.Connection[Any], decision: dict[str, Any] | None) -> None:
    """The decision, the features, every attempt with its lines, and the sums."""
    if decision is None:
        print("  no request was escalated")
        return
    _say_decision(decision)
    with connection.cursor(row_factory=dict_row) as cursor:
        attempts = cursor.execute(_ATTEMPTS, [decision["operation_id"], decision["tenant_id"]]).fetchall()
        print("\n  attempts")
        for one in attempts:
            why = f", {one['attempt_reason']}" if one["attempt_reason"] else ""
            outcome = "served" if one["served"] else one["error_type"] or one["status"]
            print(
                f"    {one['attempt_no']}  {one['attempt_role'] + why:<26}{one['route_tier'] or '':<10}"
                f"{one['priced_model'] or '':<16}{outcome:<10}{(one['total_us'] or 0) / 1e3:>8.1f} ms"
            )
            for line in cursor.execute(_LINES, [one["posting_id"]]).fetchall():
                print(f"       {line['meter']:<22}{line['quantity']:>7,}{line['amount_usd_pico'] * _USD:>18.12f} USD")
    incurred, charged, alone = (
        int(decision[name]) * _USD
        for name in ("incurred_cost_usd_pico", "chargeable_usd_pico", "strongest_cost_usd_pico")
    )
    print(
        f"\n  incurred {incurred:.12f} USD, of it charged {charged:.12f};"
        f" the frontier model alone was expected to cost {alone:.12f}"
    )


def _say_decision(decision: dict[str, Any]) -> None:
    print(f"\n  decision {decision['decision_id']}, operation {decision['operation_id']}, {decision['mode']}")
    print(f"    {decision['tier']} because {decision['reason']}; without the lot {decision['best_tier']}", end="")
    print(f" because {decision['best_reason']}; probability {decision['propensity']:.4f}")
    for name in ("losses", "risks", "propensities"):
        values = ", ".join(f"{tier} {value:.3f}" for tier, value in decision[name].items())
        print(f"    {name:<14}{values}")
    print(f"    familiarity   {_figure(decision['familiarity'])}, model {decision['model_version']}, policy "
          f"{decision['policy_version']}")  # fmt: skip
    print(f"    escalated because of {decision['escalation_reason']}, served by {decision['served_tier']}")
    print("  features")
    told = [f"{name} {_figure(value)}" for name, value in sorted(decision["features"].items())]
    width = max(map(len, told), default=0) + 3
    for at in range(0, len(told), 2):
        print("    " + "".join(f"{one:<{width}}" for one in told[at : at + 2]).rstrip())


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:g}"
