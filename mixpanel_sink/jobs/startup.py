"""Imports what every job needs, quickly, and ends the process quickly. Import it before Beam.

What is here was measured, as CPU seconds of a launcher on the machine of benchmarks/RESULTS.md:

| measure | saves |
|---|---|
| no garbage collection during the imports, and what they leave behind is frozen | 0.2 |
| Google's clients that Beam needs by name only are imported when they are first used | 0.2 |
| pandas and MongoDB's client, which Beam imports if they are there, are not found | 0.5 |
| `leave` does not take a million objects apart | 0.3 |

Polars and NumPy each open a pool of threads, one for each core. The sink encodes on threads of its
own, beside which those only cost. Arrow's own allocator keeps what is freed; the system's gives it
back, and is as fast for the large blocks of tables.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

_CLIENTS = ("bigquery", "dataflow", "pubsub")


class LazyModule(ModuleType):
    """A module that is imported on first use, also after `from package import module`.

    (Not `importlib.util.LazyLoader`: whoever looks at all of `sys.modules`, as Beam does to
    measure its state, would load the module.)
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _lazy_clients() -> Iterator[None]:
    try:
        cloud = importlib.import_module("google.cloud")
    except ImportError:  # Beam without [gcp]
        yield
        return
    names = [name for name in _CLIENTS if not hasattr(cloud, name)]
    for name in names:
        setattr(cloud, name, LazyModule(f"google.cloud.{name}"))
    try:
        yield
    finally:
        for name in names:
            if isinstance(getattr(cloud, name), LazyModule):
                delattr(cloud, name)


class _Absent:
    """Finds no pandas and no MongoDB. (None in `sys.modules` would do, were it not for Cython.)"""

    names = ("pandas", "bson", "pymongo")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is not imported at the start", name=name)


@contextlib.contextmanager
def _without() -> Iterator[None]:
    finder: Any = _Absent()
    warnings = logging.getLogger("apache_beam.io.mongodbio")
    sys.meta_path.insert(0, finder)
    warnings.disabled = True
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        warnings.disabled = False


def leave(code: int) -> NoReturn:
    """Ends the process as `sys.exit` does, but leaves its million objects to the operating system:
    to take them apart one by one costs a tenth of a second.

    Threads are waited for, what is registered with `atexit` runs, and the streams are flushed.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(code)


for _pool in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
_was_on = gc.isenabled()
gc.disable()
try:
    with _lazy_clients(), _without():
        import apache_beam  # noqa: F401
        import pyarrow

        import mixpanel_sink.read.transform
        import mixpanel_sink.write  # noqa: F401

        pyarrow.array([])  # it looks once whether pandas is there
finally:
    if _was_on:
        gc.enable()
    gc.freeze()
