"""What one DAG makes and another waits for. An event says only that there is something new; its maker keeps it."""

from airflow.sdk import Asset

LEDGER_RIGHT = Asset("tokenledger://ledger/right")
"""The ledger was proven right."""
LAKE_DAY = Asset("tokenledger://lake/day")
"""A day of the lake is whole, and equal to the ledger."""
SCORES = Asset("tokenledger://scores")
"""Captured answers were scored."""
FINETUNE_DATASET = Asset("tokenledger://datasets/finetune")
"""A version of a fine-tuning dataset."""
EVAL_DATASET = Asset("tokenledger://datasets/eval")
"""A version of an evaluation set."""
DRIFT_CONFIRMED = Asset("tokenledger://drift/confirmed")
"""Drift stayed above its threshold for as many runs as it must."""
ROUTER_CANDIDATE = Asset("tokenledger://router/candidate")
"""A trained router that somebody may promote."""
