"""Sends Avro files to Mixpanel.

The options and exit codes are those of `mixpanel_sink.jobs.import_avro`; --help lists them.
"""

from mixpanel_sink.jobs.import_avro import main
from mixpanel_sink.jobs.startup import leave

if __name__ == "__main__":
    leave(main())
