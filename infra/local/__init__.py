"""The local stack: real Kafka, Postgres and Flink as plain processes under supervisor."""
