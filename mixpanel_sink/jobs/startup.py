"""Imports Beam, and what every job needs, quickly. Import it before Beam.

What is here was measured, as CPU seconds of a launcher on the machine of benchmarks/RESULTS.md:

| measure | saves |
|---|---|
| no garbage collection during the imports, and what they leave behind is frozen | 0.2 |
| Google's clients that Beam needs by name only are imported when they are first used | 0.2 |
| pandas and MongoDB's client, which Beam imports if they are there, are not found | 0.5 |
| the file systems of clouds are imported when a path names one | 0.5 |
| Beam looks at the arguments of each method, and parses each group of options, once | 0.4 |
"""

from __future__ import annotations

import mixpanel_sink.jobs.launcher  # isort: skip
import contextlib
import functools
import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

_CLIENTS = ("bigquery", "dataflow", "pubsub")
_FILE_SYSTEMS = {
    "gs": "apache_beam.io.gcp.gcsfilesystem",
    "s3": "apache_beam.io.aws.s3filesystem",
    "azfs": "apache_beam.io.azure.blobstoragefilesystem",
}
"""By scheme, Beam's module, which imports the cloud's client."""


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
    """Finds no pandas, no MongoDB and no file systems of clouds. (None in `sys.modules` would do,
    were it not for Cython.)"""

    names = ("pandas", "bson", "pymongo", *_FILE_SYSTEMS.values())

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == _FILE_SYSTEMS["gs"]:  # its package is there now, and later imports this
            sys.modules["apache_beam.io.gcp"].gcsio = _GCSIO  # type: ignore[attr-defined]
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is not imported at the start", name=name)


_GCSIO = LazyModule("apache_beam.io.gcp.gcsio")


def _find_file_systems_later() -> None:
    """Lets Beam import the file system of a cloud when it first meets a path in it."""
    from apache_beam.io import gcp
    from apache_beam.io.filesystems import FileSystems

    if getattr(gcp, "gcsio", None) is _GCSIO:
        del gcp.gcsio
    find = FileSystems.get_filesystem

    @functools.wraps(find)
    def get_filesystem(path: str) -> Any:
        scheme = FileSystems.get_scheme(path) if isinstance(path, str) else None
        if scheme in _FILE_SYSTEMS:
            with contextlib.suppress(ModuleNotFoundError):  # Beam says that there is none
                importlib.import_module(_FILE_SYSTEMS[scheme])
        return find(path)

    FileSystems.get_filesystem = staticmethod(get_filesystem)


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


_was_on = gc.isenabled()
gc.disable()
try:
    with _lazy_clients(), _without():
        import apache_beam  # noqa: F401
        import pyarrow

        import mixpanel_sink.read.transform
        import mixpanel_sink.write  # noqa: F401

        pyarrow.array([])  # it looks once whether pandas is there
    _find_file_systems_later()
    _look_once_at_arguments()
    _parse_options_once()
finally:
    if _was_on:
        gc.enable()
    gc.freeze()
