"""Sends CSV files with a header to Mixpanel.

The options and exit codes are those of `mixpanel_sink.jobs.import_csv`; --help lists them.
"""

from mixpanel_sink.jobs.import_csv import main
from mixpanel_sink.jobs.startup import leave

if __name__ == "__main__":
    leave(main())
