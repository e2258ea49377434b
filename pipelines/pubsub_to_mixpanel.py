"""Sends JSON messages of Pub/Sub to Mixpanel, as they come.

The options and exit codes are those of `mixpanel_sink.jobs.stream_pubsub`; --help lists them.
"""

from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.jobs.stream_pubsub import main

if __name__ == "__main__":
    leave(main())
