"""What a provider's own body says it billed, and the server tools it counts beside the tokens.

xAI: ticks of 10⁻¹⁰ USD, tools and discounts included (docs.x.ai/developers/cost-tracking). OpenRouter: credits, which
are USD; with the customer's own key the upstream charge comes on top. Perplexity: a cost object in USD.
"""

from typing import Final

from tokenledger.normalise.reading import BadRecordError, Body, Exchange, Reading, count, part, text, usd_to_pico
from tokenledger.records.reasons import Reason

_PICO_PER_TICK: Final = 100
_SIGNS: Final = frozenset(
    (
        "cost",
        "cost_in_usd_ticks",
        "num_sources_used",
        "num_search_queries",
        "server_side_tool_usage_details",
        "server_tool_use",
        "tool_calls_details",
    )
)
_XAI_TOOLS: Final = {
    "web_search_calls": "tool.web_search",
    "x_search_calls": "tool.web_search",
    "code_interpreter_calls": "tool.code_execution",
    "file_search_calls": "tool.file_search",
    "document_search_calls": "tool.file_search",
}


def add_bill(reading: Reading, body: Body, exchange: Exchange) -> None:
    """Put the billed amount and tool calls into `reading`, where its usage object has them.

    Gateways write a cost of their own making into `usage`, too: a cost object counts from Perplexity only, a plain
    cost with an id of OpenRouter's only.
    """
    usage = reading.raw_usage or {}
    if _SIGNS.isdisjoint(usage):
        return
    ticks = count(usage, "cost_in_usd_ticks", "usage")
    if ticks is not None:
        reading.billed_usd_pico = ticks * _PICO_PER_TICK
        reading.provider = "x_ai"
    cost = usage.get("cost")
    if cost.__class__ is dict:
        if "perplexity" in (reading.provider, exchange.provider):
            reading.billed_usd_pico = _cost_object(cost)
    elif cost is not None and is_openrouter(body):
        _openrouter(reading, body, usage)
    _add_tools(reading, usage)


def is_openrouter(body: Body) -> bool:
    """OpenRouter's ids begin with `gen-`, whatever provider the producer named."""
    response_id = body.get("id")
    return response_id.__class__ is str and response_id.startswith("gen-")


def _openrouter(reading: Reading, body: Body, usage: Body) -> None:
    billed = usd_to_pico(usage.get("cost"), "usage.cost")
    if usage.get("is_byok") is True and billed is not None:
        # Their fee alone would be less than what the call cost: the provider bills the customer's own key.
        upstream = usd_to_pico(
            part(usage, "cost_details", "usage").get("upstream_inference_cost"), "usage.cost_details"
        )
        billed = None if upstream is None else billed + upstream
    reading.billed_usd_pico = billed
    reading.provider = "openrouter"
    reading.host_provider = text(body, "provider")


def _cost_object(cost: Body) -> int | None:
    currency = cost.get("currency", "USD")
    if currency not in ("USD", None):
        detail = f"found currency {currency!r:.20}; USD would be right"
        raise BadRecordError(Reason.INVALID_AMOUNT, "usage.cost.currency", detail)
    return usd_to_pico(cost.get("total_cost"), "usage.cost.total_cost")


def _add_tools(reading: Reading, usage: Body) -> None:
    calls: dict[str, int] = {}
    details = part(usage, "server_side_tool_usage_details", "usage")
    for name, meter in _XAI_TOOLS.items():
        calls[meter] = calls.get(meter, 0) + (count(details, name, "usage.server_side_tool_usage_details") or 0)
    calls["tool.web_search"] = (
        calls["tool.web_search"]
        or count(usage, "num_search_queries", "usage")
        or count(part(usage, "server_tool_use", "usage"), "web_search_requests", "usage.server_tool_use")
        or _invocations(usage)
        or count(usage, "num_sources_used", "usage")
        or 0
    )
    for meter, number in calls.items():
        if number:
            reading.usage[meter] = number


def _invocations(usage: Body) -> int | None:
    path = "usage.tool_calls_details"
    return count(
        part(part(usage, "tool_calls_details", "usage"), "search_web", path), "invocation", f"{path}.search_web"
    )
