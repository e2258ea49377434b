"""A worker process of the DirectRunner: Beam's own, which imports what it needs quickly.

python -m mixpanel_sink.jobs.sdk_worker PROCESS, which is that of the job
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import contextlib
import logging
import os
import sys
import threading
import time

from apache_beam.runners.worker import sdk_worker_main

from mixpanel_sink.jobs.launcher import leave

_GRACE_SECONDS = 5.0
"""A worker that is connected finds out by itself that its job was killed."""


def _end_with(job: int) -> None:
    """Ends this process some time after the job's: a worker that is not connected yet would try to
    connect for ever."""
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(job, 0)
            time.sleep(1)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    if os.name == "posix" and len(sys.argv) > 1:
        threading.Thread(target=_end_with, args=[int(sys.argv[1])], daemon=True).start()
    # It would log all of Beam's options, some of which are secrets, such as --s3_secret_access_key.
    logging.getLogger(sdk_worker_main.__name__).setLevel(logging.WARNING)
    sdk_worker_main.main(sys.argv)
    leave(0)
