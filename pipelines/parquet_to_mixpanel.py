"""Sends Parquet files to Mixpanel.

The options and exit codes are those of `mixpanel_sink.jobs.import_parquet`; --help lists them.
"""

from mixpanel_sink.jobs.import_parquet import main
from mixpanel_sink.jobs.startup import leave

if __name__ == "__main__":
    leave(main())
