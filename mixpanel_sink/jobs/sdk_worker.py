"""A worker process of the DirectRunner: Beam's own, which imports what it needs quickly.

python -m mixpanel_sink.jobs.sdk_worker
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import logging
import sys

from apache_beam.runners.worker import sdk_worker_main

from mixpanel_sink.jobs.launcher import leave

if __name__ == "__main__":
    # It would log all of Beam's options, some of which are secrets, such as --s3_secret_access_key.
    logging.getLogger(sdk_worker_main.__name__).setLevel(logging.WARNING)
    sdk_worker_main.main(sys.argv)
    leave(0)
