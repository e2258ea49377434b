"""The emulator's clock for arrival stamps: epoch seconds that never run backwards.

The rolling quota is exact only if stamps are ordered, and the wall clock may be set back while
the emulator runs. So stamps are the wall clock at import plus monotonic time since.
"""

import time

_OFFSET = time.time() - time.monotonic()


def stamp() -> float:
    """Seconds since the epoch, as a float that never decreases."""
    return _OFFSET + time.monotonic()
