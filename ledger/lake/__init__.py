"""The lake: calls and consented texts as Parquet files that repeat themselves when written again. See docs/lake.md."""
