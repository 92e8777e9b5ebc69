"""What the pusher tells of itself on /metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

WINDOWS: Final = Counter(
    "tokenledger_features_windows_total", "Windows taken from the topic, by what became of them", ["outcome"]
)
ROWS: Final = Counter("tokenledger_features_rows_total", "Views of entities that were written, by place", ["place"])
LATE_SECONDS: Final = Histogram(
    "tokenledger_features_late_seconds",
    "From the end of a minute to its features in Redis, newest minute of each write",
    buckets=(0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 10, 30, 60, 300),
)
WRITE_SECONDS: Final = Histogram(
    "tokenledger_features_write_seconds",
    "Time of one write into Redis",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
FAILURES: Final = Counter("tokenledger_features_failures_total", "Times a place could not be reached", ["place"])
RESTORED: Final = Counter("tokenledger_features_restores_total", "Times Redis had lost everything and was filled again")
REFUSED: Final = Counter(
    "tokenledger_features_refused_total", "Names too long and values no reader should get, left out", ["what"]
)
DROPPED: Final = Counter(
    "tokenledger_features_history_dropped_total", "Rows of history given up because the disk would not take them"
)
ENTITIES: Final = Gauge("tokenledger_features_entities_records", "Entities whose last hour is held")
LAG: Final = Gauge("tokenledger_features_lag_records", "Records of the topic not yet read")
