"""Anthropic's organization reports: `usage_report/messages` (tokens) and `cost_report` (money, in cents). Pure.

Shapes: platform.claude.com/docs/en/api/admin. `amount` is a decimal text in cents. Costs of the priority tier are in no
cost report.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.bills.lines import BillError, BillLine, count, pico, usd

PROVIDER: Final = "anthropic"
_CENTS: Final = 100
_TOKENS: Final = {
    "uncached_input_tokens": "input.text",
    "cache_read_input_tokens": "input.text.cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "input.text.cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "input.text.cache_write_1h",
    "output_tokens": "output.text",
}
_TOOLS: Final = {"web_search": "tool.web_search", "code_execution": "tool.code_execution"}


def is_page(document: Any) -> bool:
    """Whether a JSON document is one of these reports."""
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return False
    return all(isinstance(bucket, dict) and "starting_at" in bucket for bucket in document["data"])


def lines(document: dict[str, Any], where: str) -> Iterator[BillLine]:
    """The report's lines. Raises BillError."""
    if document.get("has_more"):
        raise BillError(f"{where}: has_more is true; fetch the pages up to the last one and give them all")
    for number, bucket in enumerate(document["data"]):
        place = f"{where}: data[{number}]"
        day = _day(bucket, place)
        for index, result in enumerate(bucket.get("results") or ()):
            if not isinstance(result, dict):
                raise BillError(f"{place}.results[{index}] is {result!r}; an object would be right")
            at = f"{place}.results[{index}]"
            if "amount" in result:
                yield _cost(result, day, place=at)
            else:
                yield from _usage(result, day, place=at)


def _day(bucket: dict[str, Any], place: str) -> str:
    try:
        start = datetime.fromisoformat(bucket["starting_at"]).astimezone(UTC)
        end = datetime.fromisoformat(bucket["ending_at"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        raise BillError(f"{place}: starting_at or ending_at is no RFC 3339 time such as 2026-11-01T00:00:00Z") from None
    if end <= start or (end - timedelta(microseconds=1)).date() != start.date():
        raise BillError(f"{place} lasts from {start} to {end}; a bucket within one UTC day would be right")
    return start.date().isoformat()


def _cost(result: dict[str, Any], day: str, *, place: str) -> BillLine:
    usd(result.get("currency"), place)
    amount_usd_pico, precision_usd_pico = pico(result["amount"], f"{place}.amount", per_usd=_CENTS)
    meter = _TOKENS.get(str(result.get("token_type") or ""), "") or _TOOLS.get(str(result.get("cost_type") or ""), "")
    said = str(result.get("description") or result.get("token_type") or result.get("cost_type") or "")
    return BillLine(
        day=day, provider=PROVIDER, model=str(result.get("model") or ""), meter=meter, said=said,
        amount_usd_pico=amount_usd_pico, precision_usd_pico=precision_usd_pico,
        category="credit" if amount_usd_pico < 0 else "usage",
    )  # fmt: skip


def _usage(result: dict[str, Any], day: str, *, place: str) -> Iterator[BillLine]:
    model = str(result.get("model") or "")
    for name, meter in _TOKENS.items():
        value: Any = result
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if quantity := count(value, f"{place}.{name}"):
            yield BillLine(day=day, provider=PROVIDER, model=model, meter=meter, quantity=quantity, said=name)
    tools = result.get("server_tool_use")
    if isinstance(tools, dict) and (
        searches := count(tools.get("web_search_requests"), f"{place}.web_search_requests")
    ):
        yield BillLine(
            day=day, provider=PROVIDER, model=model, meter="tool.web_search", quantity=searches, said="web_search"
        )
