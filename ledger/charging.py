"""When a call is charged, and by which dimensions it is rolled up. Pure."""

from operator import attrgetter
from typing import Final

from tokenledger.records import PricedCall

_DAY_US: Final = 24 * 3600 * 1_000_000
OLDEST_US: Final = 400 * _DAY_US
"""An event may lie this far before its append time."""
NEWEST_US: Final = 5 * 60 * 1_000_000
"""And this far after it."""


def charged_at_us(priced: PricedCall) -> int:
    """The event time; the append time where the event time cannot be believed."""
    started_at_us, append_at_us = priced.call.started_at_us, priced.append_at_us
    return started_at_us if -OLDEST_US <= started_at_us - append_at_us <= NEWEST_US else append_at_us


def time_depends_on_delivery(priced: PricedCall) -> bool:
    """Whether another delivery of the same facts would be charged to another instant."""
    return priced.call.event_time_source == "append" or charged_at_us(priced) != priced.call.started_at_us


DIMENSIONS: Final = (
    "tenant_id", "environment", "project", "feature", "cost_centre", "api_key_id", "provider", "api", "model",
    "service_tier_served", "processing",
)  # fmt: skip
"""What roll-ups can be grouped by."""
_front = attrgetter("tenant_id", "environment", "project", "feature", "cost_centre", "api_key_id", "provider", "api")
_back = attrgetter("service_tier_served", "processing")

Values = tuple[str | int | None, ...]


def dimensions(priced: PricedCall) -> Values:
    """Its values of DIMENSIONS."""
    call = priced.call
    model = priced.priced_model or call.response_model or call.request_model
    return (*_front(call), model, *_back(call))


_MODEL: Final = DIMENSIONS.index("model")


def of_model(values: Values, model: str) -> Values:
    """The same dimensions for another model."""
    return (*values[:_MODEL], model, *values[_MODEL + 1 :])


RATE_FIELDS: Final = (
    "meter", "model", "price_id", "list_pico", "list_per", "contracted_pico", "contracted_per", "matched",
)  # fmt: skip
"""What makes two rates of one tenant different."""
rate: Final = attrgetter(*RATE_FIELDS)
"""A line's values of RATE_FIELDS."""
