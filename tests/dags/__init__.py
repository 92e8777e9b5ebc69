"""Tests of datasets, scores, drift and their DAGs."""
