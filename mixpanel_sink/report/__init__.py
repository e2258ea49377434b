"""What a run says: metrics, accounting, failures, log lines and the report."""
