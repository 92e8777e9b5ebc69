"""The rules of datasets, scores and drift: pure, no pandas, no Airflow, no files. Each is held by a property test."""
