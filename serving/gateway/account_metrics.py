"""What accounting, admission and the shipper tell of themselves, beside the hot path's own metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OUTBOX_SYNC_SECONDS: Final = Histogram(
    "tokenledger_outbox_sync_seconds",
    "Time of writing and syncing one group of intents and outcomes",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
OUTBOX_ERRORS: Final = Counter(
    "tokenledger_outbox_errors_total", "Times the outbox could not write a group or make a segment"
)
OUTBOX_ROOM: Final = Gauge(
    "tokenledger_outbox_room_bytes", "Prepared room of the outbox, less what is promised to open outcomes"
)
OPEN_INTENTS: Final = Gauge("tokenledger_outbox_open_records", "Intents whose outcome is still to come")

SHRUNK: Final = Counter(
    "tokenledger_gateway_shrunk_outcomes_total", "Outcomes that were too large for the outbox and lost details", ["to"]
)
UNPRICED: Final = Counter(
    "tokenledger_gateway_unpriced_total", "Attempts let through with nothing reserved, as their model has no price"
)
UNKNOWN_COST: Final = Counter(
    "tokenledger_gateway_unknown_cost_total", "Outcomes without a known cost; what was reserved counts as spent"
)
ABOVE_RESERVATION: Final = Counter(
    "tokenledger_gateway_above_reservation_total", "Outcomes that cost more than was reserved for them"
)
REFUSED: Final = Counter(
    "tokenledger_gateway_admission_refused_total", "Requests refused by key, scope, rate or budget", ["code"]
)
REFRESHES: Final = Counter(
    "tokenledger_gateway_refreshes_total", "Looks at keys, budgets and spending, by how they ended", ["result"]
)
REFRESHED: Final = Gauge(
    "tokenledger_gateway_refreshed_timestamp_seconds", "When keys, budgets and spending were last seen, Unix time"
)

NOT_UNDERSTOOD: Final = Counter(
    "tokenledger_gateway_not_understood_total",
    "Times a defect of ours kept a reply from being read, and its record goes without",
    ["place", "type"],
)

CAPTURED: Final = Counter(
    "tokenledger_gateway_captured_texts_total",
    "Answers of tenants that allow it, by what became of their texts",
    ["result"],
)
BOOK_AGE: Final = Gauge(
    "tokenledger_gateway_price_book_age_seconds", "Time since the price book at work was last seen to be the newest"
)

SHIPPED: Final = Counter(
    "tokenledger_shipper_records_total", "Records acknowledged by Kafka, by what they say", ["kind"]
)
SHIPPER_EPOCHS: Final = Gauge(
    "tokenledger_shipper_epochs_records", "Epochs of the outbox that are not shipped to their end"
)
SHIPPER_BEHIND: Final = Gauge(
    "tokenledger_shipper_behind_bytes", "Bytes of the outbox that Kafka has not acknowledged yet"
)
