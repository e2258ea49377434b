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
"""Beam's module for each scheme, which imports the cloud's client."""
_OF_IO = ("apache_beam.io.mongodbio", "apache_beam.io.gcp.bigquery")
"""Modules whose public names `apache_beam.io` takes over."""
_HTTP = "httplib2"
"""A module that Beam needs only by name, to fetch what it stages."""
_ERRORS = "apitools.base.py.exceptions"
"""A module that Beam needs only to ask whether an error is one of its errors."""
_OF_PANDAS = ("ReadFromCsv", "WriteToCsv", "ReadFromJson", "WriteToJson")
"""Transforms of `apache_beam.io.textio` that Beam defines only if pandas is there."""


class LazyModule(ModuleType):
    """A module that is imported on first use, also after `from package import module`.

    (Not `importlib.util.LazyLoader`: looking at all of `sys.modules`, as Beam does to
    measure its state, would load the module.)
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)

    def __reduce__(self) -> Any:
        """Pickled by name, as other modules are: a user's DoFn may refer to it."""
        return importlib.import_module, (self.__name__,)


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
    """Tells Beam and Arrow of pandas, once it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "pandas" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        try:
            spec: Any = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # somebody may only look whether it is there
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    _use_pandas()

            spec.loader.exec_module = exec_module
        return spec


def _use_pandas() -> None:
    """Makes up for what Beam and Arrow did without pandas."""
    import pyarrow
    from apache_beam import io, typehints
    from apache_beam.io import textio
    from apache_beam.typehints import pandas_type_compatibility  # which registers converters

    _ = pyarrow.lib._pandas_api.pd  # it looks again
    vars(typehints).update(_public(pandas_type_compatibility))
    for statement in ast.parse(inspect.getsource(textio)).body:
        first = statement.body[0] if isinstance(statement, ast.Try) else None
        if isinstance(first, ast.Import) and first.names[0].name == "pandas":
            made = compile(ast.Module([statement], []), textio.__file__, "exec")
            exec(made, vars(textio))
    for name in _OF_PANDAS:
        setattr(io, name, getattr(textio, name))


def _find_transforms() -> None:
    """Lets Beam define, when they are asked for, the transforms that need pandas, MongoDB or
    BigQuery."""
    from apache_beam import io
    from apache_beam.io import textio

    def find(name: str) -> Any:
        if name == "__all__":  # of `from apache_beam.io import *`, which finds only what is there
            with contextlib.suppress(ImportError):
                importlib.import_module("pandas")
            for of_io in _OF_IO:
                with contextlib.suppress(ImportError):
                    vars(io).update(_public(importlib.import_module(of_io)))
            return list(_public(io))
        if name in _OF_PANDAS:
            importlib.import_module("pandas")
            return vars(textio)[name]
        for of_io in () if name.startswith("_") else _OF_IO:
            with contextlib.suppress(ImportError):  # nor would Beam have its names
                module = importlib.import_module(of_io)
                if name in module.__all__:
                    return getattr(module, name)
        raise AttributeError(f"module 'apache_beam.io' has no attribute {name!r}")

    io.__getattr__ = find
    if "pandas" in sys.modules or not _is_installed("pandas"):
        return
    sys.meta_path.insert(0, _WhenImported())
    textio.__getattr__ = find
    for module in (io, textio):
        for name in _OF_PANDAS:
            vars(module).pop(name, None)


def _public(module: ModuleType) -> dict[str, Any]:
    """What `from module import *` gives."""
    names = vars(module).get("__all__") or [name for name in vars(module) if name[0] != "_"]
    return {name: getattr(module, name) for name in names}


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of a finder that hides it
        return False


def _is_subhint(sub: Any, base: Any) -> Any:
    """Stands for beartype's until Beam compares hints that it does not know."""
    from apache_beam.typehints import typehints
    from beartype import door, roar

    typehints.is_subhint, typehints.BeartypeDoorException = (
        door.is_subhint,
        roar.BeartypeDoorException,
    )
    return door.is_subhint(sub, base)


class _Known(type):
    """A class that knows the instances of the real one, of which there are none before anything
    imports it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        module = sys.modules.get(cls.__module__)
        return module is not None and isinstance(instance, getattr(module, cls.__name__))


def _placeholders() -> dict[str, ModuleType]:
    """What Beam finds in place of modules that it would import."""
    found: dict[str, ModuleType] = {name: LazyModule(name) for name in (*_OF_IO, _HTTP)}
    http_error = _Known("HttpError", (Exception,), {"__module__": _ERRORS})
    values: dict[str, dict[str, Any]] = {
        _ERRORS: {"HttpError": http_error},
        "beartype.door": {"is_subhint": _is_subhint},
        "beartype.roar": {"BeartypeDoorException": None},
    }
    for name, of_module in values.items():
        found[name] = ModuleType(name)
        vars(found[name]).update(of_module)
    return found


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hides what Beam would import while it is imported itself."""
    finder: Any = _Absent()
    placeholders = {name: each for name, each in _placeholders().items() if name not in sys.modules}
    sys.modules.update(placeholders)
    sys.meta_path.insert(0, finder)
    try:
        with _lazy_clients():
            yield
    finally:
        sys.meta_path.remove(finder)
        for name, each in placeholders.items():
            if sys.modules.get(name) is each:
                del sys.modules[name]
    for name in _OF_IO:
        package, _, last = name.rpartition(".")
        if name in placeholders and package in sys.modules:
            setattr(sys.modules[package], last, placeholders[name])


def find_later() -> None:
    """Makes what was hidden visible again."""
    _find_file_systems()
    _find_transforms()
