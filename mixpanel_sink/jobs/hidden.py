"""What start-up hides from Beam, which would import it and seldom needs it.

Each is found when it is asked for: a pipeline in this process may use it.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_CLIENTS = ("bigquery", "dataflow", "pubsub")
_FILE_SYSTEMS = {
    "gs": "apache_beam.io.gcp.gcsfilesystem",
    "s3": "apache_beam.io.aws.s3filesystem",
    "azfs": "apache_beam.io.azure.blobstoragefilesystem",
}
"""By scheme, Beam's module, which imports the cloud's client."""
_MONGO_DB = "apache_beam.io.mongodbio"
_OF_MONGO_DB = ("ReadFromMongoDB", "WriteToMongoDB")
_OF_PANDAS = ("ReadFromCsv", "WriteToCsv", "ReadFromJson", "WriteToJson")
"""Transforms of `apache_beam.io.textio` that Beam defines only if pandas is there."""


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
    """Finds no pandas and no file systems of clouds. (None in `sys.modules` would do, were it not
    for Cython.)"""

    names = ("pandas", *_FILE_SYSTEMS.values())

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == _FILE_SYSTEMS["gs"]:  # its package is there now, and later imports this
            sys.modules["apache_beam.io.gcp"].gcsio = _GCSIO  # type: ignore[attr-defined]
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is not imported at the start", name=name)


_GCSIO = LazyModule("apache_beam.io.gcp.gcsio")


def _find_file_systems() -> None:
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


class _WhenImported:
    """Tells Beam and Arrow of pandas, once somebody imports it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "pandas":
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                _use_pandas()

            spec.loader.exec_module = exec_module
        return spec


def _use_pandas() -> None:
    """Makes up for what Beam and Arrow did without pandas."""
    import pyarrow
    from apache_beam import io
    from apache_beam.io import textio

    _ = pyarrow.lib._pandas_api.pd  # it looks again
    for statement in ast.parse(inspect.getsource(textio)).body:
        first = statement.body[0] if isinstance(statement, ast.Try) else None
        if isinstance(first, ast.Import) and first.names[0].name == "pandas":
            made = compile(ast.Module([statement], []), textio.__file__, "exec")
            exec(made, vars(textio))
    for name in _OF_PANDAS:
        setattr(io, name, getattr(textio, name))


def _find_transforms() -> None:
    """Lets Beam define, when they are asked for, the transforms that need pandas or MongoDB."""
    from apache_beam import io
    from apache_beam.io import textio

    def find(name: str) -> Any:
        if name in (*_OF_MONGO_DB, "mongodbio"):
            module = importlib.import_module(_MONGO_DB)
            return module if name == "mongodbio" else getattr(module, name)
        if name in _OF_PANDAS:
            importlib.import_module("pandas")
            return vars(textio)[name]
        raise AttributeError(f"module 'apache_beam.io' has no attribute {name!r}")

    io.__getattr__ = find
    if "pandas" in sys.modules or not _is_installed("pandas"):
        return
    sys.meta_path.insert(0, _WhenImported())
    textio.__getattr__ = find
    for module in (io, textio):
        for name in _OF_PANDAS:
            vars(module).pop(name, None)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of somebody's finder, which hides it
        return False


@contextlib.contextmanager
def _without_a_warning() -> Iterator[None]:
    """Without [gcp], Beam warns at each import that it cannot use BigQuery, and sets up logging to
    do so."""
    root = logging.getLogger()
    handler = logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_is_of_use)
    try:
        yield
    finally:
        root.removeFilter(_is_of_use)
        root.removeHandler(handler)


def _is_of_use(record: logging.LogRecord) -> bool:
    return "apitools not found" not in record.getMessage()


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hides what Beam would import while it is imported itself."""
    finder: Any = _Absent()
    mongo_db = LazyModule(_MONGO_DB)
    known = sys.modules.setdefault(_MONGO_DB, mongo_db) is not mongo_db
    sys.meta_path.insert(0, finder)
    try:
        with _lazy_clients(), _without_a_warning():
            yield
    finally:
        sys.meta_path.remove(finder)
        if not known:
            del sys.modules[_MONGO_DB]


def find_later() -> None:
    """Lets what was hidden be found from now on."""
    _find_file_systems()
    _find_transforms()
