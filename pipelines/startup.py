"""Imports what every pipeline needs, quickly. Import it first.

Beam's imports make a million objects that live as long as the process does. Looking through
them for garbage, again and again and once more at the end, takes as long as half the imports:
the garbage collector is off meanwhile.

Beam also imports Google's clients whether a pipeline needs them or not. Some it uses only by
their names, so that Python can load those when they are used for the first time. And it imports
pandas if that is there, for transforms on data frames, which these pipelines do without.

Polars and NumPy each open a pool of threads, a thread a core. The sink encodes on threads of its
own, beside which those only cost.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

_NOT = "pandas"
_LATER = ("google.cloud.bigquery", "google.cloud.dataflow", "google.cloud.pubsub")


class _Finder:
    """Finds some modules not at all, and puts the loading of others off to their first use."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        if name == _NOT:
            raise ModuleNotFoundError(f"{name} is not imported at the start", name=name)
        spec = PathFinder.find_spec(name, path) if name in _LATER else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


for _pool in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
_finder: Any = _Finder()
sys.meta_path.insert(0, _finder)
_was_on = gc.isenabled()
gc.disable()
try:
    import apache_beam  # noqa: F401

    import mixpanel_sink.parquet
    import mixpanel_sink.write  # noqa: F401
finally:
    sys.meta_path.remove(_finder)
    if _was_on:
        gc.enable()
    gc.freeze()
