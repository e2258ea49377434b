"""Sends files of newline-delimited JSON to Mixpanel.

The options and exit codes are those of `mixpanel_sink.jobs.import_json_lines`; --help lists them.
"""

from mixpanel_sink.jobs.import_json_lines import main
from mixpanel_sink.jobs.startup import leave

if __name__ == "__main__":
    leave(main())
