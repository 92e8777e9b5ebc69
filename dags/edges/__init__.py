"""What moves bytes for the rules of `dags/core`: files, Parquet, DuckDB's external sort, HTTP."""
