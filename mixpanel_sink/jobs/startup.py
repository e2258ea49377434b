"""Imports Beam, and what every job needs, quickly. Import it before Beam.

What is here was measured, as CPU seconds of a launcher on the machine of benchmarks/RESULTS.md:

| measure | saves |
|---|---|
| no garbage collection during the imports, and what they leave behind is frozen | 0.2 |
| Google's clients that Beam needs by name only are imported when they are first used | 0.2 |
| pandas and MongoDB's client, which Beam imports if they are there, are found later | 0.5 |
| so are beartype, httplib2 and what reads and writes BigQuery; with Beam's [gcp] | 0.15; 0.4 |
| the file systems of clouds are imported when a path names one | 0.5 |
| Beam looks at the arguments of each method, and parses each group of options, once | 0.4 |

Beside that, the end of each bundle no longer waits up to 0.2 s for the thread that samples it.
"""

from __future__ import annotations

import mixpanel_sink.jobs.launcher  # isort: skip
import functools
import gc
from types import FunctionType, MethodType
from typing import Any

from mixpanel_sink.jobs.hidden import find_later, hidden

_SAMPLING_MS = 10


def _look_once_at_arguments() -> None:
    """Beam inspects all methods of each DoFn eight times while a pipeline is built and run."""
    from apache_beam.transforms import core

    inspect = core.get_function_args_defaults
    known: dict[Any, tuple[list[str], list[Any]]] = {}

    @functools.wraps(inspect)
    def get_function_args_defaults(function: Any) -> tuple[list[str], list[Any]]:
        key = getattr(function, "__func__", None)
        if not isinstance(function, MethodType) or not isinstance(key, FunctionType):
            return inspect(function)
        if key not in known:
            known[key] = inspect(function)
        names, defaults = known[key]
        return list(names), list(defaults)

    core.get_function_args_defaults = get_function_args_defaults


def _parse_options_once() -> None:
    """Beam builds a parser, and parses the command line, whenever a step looks at an option. Where
    a view has been made before, all values are in the options already: only its names are new."""
    from apache_beam.options.pipeline_options import PipelineOptions

    view_as = PipelineOptions.view_as
    known: dict[Any, Any] = {}

    @functools.wraps(view_as)
    def cached(self: Any, cls: Any) -> Any:
        visible = known.get(cls)
        if visible is None or not vars(visible).keys() <= self._all_options.keys():
            view = view_as(self, cls)
            if cls.__init__ is PipelineOptions.__init__:
                known[cls] = view._visible_options
            return view
        view = cls.__new__(cls)
        view._flags, view._visible_options = self._flags, visible
        view._all_options = self._all_options
        return view

    PipelineOptions.view_as = cached


def _sample_often() -> None:
    """A bundle's end waits for the thread that samples its steps, which sleeps up to 0.2 s."""
    from apache_beam.runners.worker.statesampler import StateSampler

    StateSampler.__init__.__defaults__ = (_SAMPLING_MS,)


_was_on = gc.isenabled()
gc.disable()
try:
    import polars  # noqa: F401  # before pandas is hidden: it looks once whether that is there

    with hidden():
        import apache_beam  # noqa: F401
        import pyarrow

        import mixpanel_sink.read.transform
        import mixpanel_sink.write  # noqa: F401

        pyarrow.array([])  # it looks once whether pandas is there
    find_later()
    _look_once_at_arguments()
    _parse_options_once()
    _sample_often()
finally:
    if _was_on:
        gc.enable()
    gc.freeze()
