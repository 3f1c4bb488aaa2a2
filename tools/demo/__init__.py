"""The demo: a broker, events, a Dagster run, and what then stands in Iceberg."""
