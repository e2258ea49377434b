"""What competes: each module is a program that sends a Parquet file's rows to an endpoint."""
