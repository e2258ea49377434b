"""Proves an import: reads back what Mixpanel holds, and compares it with the input.

The options and exit codes are those of `mixpanel_sink.jobs.verify`; --help lists them.
"""

from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.jobs.verify import main

if __name__ == "__main__":
    leave(main())
