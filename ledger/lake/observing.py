"""What the archive tells of itself: closed sets of metrics."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECORDS: Final = Counter(
    "tokenledger_lake_records_total",
    "Records taken from the topics by table and what became of them; texts that are not kept say why",
    ["table", "outcome"],
)
REDACTIONS: Final = Counter("tokenledger_lake_redactions_total", "Replacements made in texts, by entity", ["entity"])
REDACTION_SECONDS: Final = Histogram(
    "tokenledger_lake_redaction_seconds",
    "Time to redact one conversation",
    buckets=(0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 10),
)
FLUSH_SECONDS: Final = Histogram(
    "tokenledger_lake_flush_seconds",
    "Time to write what was held into the lake",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
WRITTEN_BYTES: Final = Counter("tokenledger_lake_written_bytes_total", "Bytes of files written, by table", ["table"])
FILES: Final = Counter("tokenledger_lake_files_total", "Files written, by table", ["table"])
HELD_BYTES: Final = Gauge("tokenledger_lake_held_bytes", "Rows in memory, not yet in the lake")
LAG: Final = Gauge("tokenledger_lake_lag_records", "Records of the topics not yet read", ["topic", "partition"])
RETRIES: Final = Counter("tokenledger_lake_retries_total", "Times the disk refused a file and it was tried again")
