"""Flink jobs: wiring around the library; every decision about an event is made in `tokenledger`."""
