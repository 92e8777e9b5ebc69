"""Tests of what the Flink jobs do to a record, without Flink."""
