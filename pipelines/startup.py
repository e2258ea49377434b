"""Imports what every pipeline needs, quickly. Import it first.

Beam's imports make a million objects that live as long as the process does. Looking through
them for garbage, again and again and once more at the end, takes as long as half the imports:
the garbage collector is off meanwhile.

Beam also imports Google's clients whether a pipeline needs them or not. Some it uses only by
their names: it gets stand-ins, which import the client when they are used for the first time.
And it imports pandas if that is there, for transforms on data frames; these pipelines do without.

Polars and NumPy each open a pool of threads, a thread a core. The sink encodes on threads of its
own, beside which those only cost.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_CLIENTS = ("bigquery", "dataflow", "pubsub")


class StandIn(ModuleType):
    """A module's, for those who take it by `from package import module`.

    (Not `importlib.util.LazyLoader`: whoever looks at all of `sys.modules`, as Beam does to
    measure its state, would load the module.)
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    try:
        cloud = importlib.import_module("google.cloud")
    except ImportError:  # Beam without [gcp]
        yield
        return
    names = [name for name in _CLIENTS if not hasattr(cloud, name)]
    for name in names:
        setattr(cloud, name, StandIn(f"google.cloud.{name}"))
    try:
        yield
    finally:
        for name in names:
            if isinstance(getattr(cloud, name), StandIn):
                delattr(cloud, name)


class _NoPandas:
    """Finds no pandas. (None in `sys.modules` would do, were it not for Cython.)"""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not imported at the start", name=name)


@contextlib.contextmanager
def _without_pandas() -> Iterator[None]:
    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


for _pool in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
_was_on = gc.isenabled()
gc.disable()
try:
    with _stand_ins(), _without_pandas():
        import apache_beam  # noqa: F401
        import pyarrow

        import mixpanel_sink.parquet
        import mixpanel_sink.write  # noqa: F401

        pyarrow.array([])  # it looks once whether pandas is there
finally:
    if _was_on:
        gc.enable()
    gc.freeze()
