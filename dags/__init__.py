"""What Airflow runs. Wiring only: rules are in `core/`, and each task is a command in its own environment."""
