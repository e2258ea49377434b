"""How the process of a command or a job begins and ends. No Beam here. Import it before Polars.

Polars and NumPy each open a pool of threads, one for each core. The sink encodes on threads of its
own, beside which those only cost. Arrow's own allocator keeps what is freed; the system's gives it
back, and is as fast for the large blocks of tables.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn

for _pool in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def leave(code: int) -> NoReturn:
    """Ends the process as `sys.exit` does, but leaves its million objects to the operating system:
    to take them apart one by one costs a tenth of a second.

    Threads are waited for, what is registered with `atexit` runs, and the streams are flushed.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or no longer read
            stream.flush()
    os._exit(code)
