"""The tests mirror the source; `integration`, `conformance`, `fuzz` and `faults` take longer."""
