"""Sends failed records again, after what made them fail was fixed.

The options and exit codes are those of `mixpanel_sink.jobs.replay`; --help lists them.
"""

from mixpanel_sink.jobs.replay import main
from mixpanel_sink.jobs.startup import leave

if __name__ == "__main__":
    leave(main())
