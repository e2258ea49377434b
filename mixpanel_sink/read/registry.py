"""The formats, found by name, by a file's suffix, or by its content as a last resort. And
the kinds of tables, by what their addresses begin with.

To add one, write its module and add its line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.connection import reached, short
from mixpanel_sink.read.files import PACKED_SUFFIXES, opened
from mixpanel_sink.read.source import Format
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.settings.names import near

ARROW_MARKS = (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")
"""The first bytes of Arrow files, of Feather version 1, and of Arrow streams."""


class _Entry(NamedTuple):
    """Where a format's class is, so that it is imported only when needed."""

    module: str
    kind: str
    suffixes: tuple[str, ...]
    marks: tuple[bytes, ...] = ()
    """The first bytes of its files."""
    given: tuple[tuple[str, Any], ...] = ()
    """Options that this name implies."""


FORMATS = {
    "parquet": _Entry("parquet", "Parquet", (".parquet", ".parq", ".pq"), (b"PAR1",)),
    "jsonl": _Entry("json_lines", "JsonLines", (".jsonl", ".ndjson", ".json"), (b"{", b"[")),
    "csv": _Entry("csv", "CsvRows", (".csv", ".txt")),
    "tsv": _Entry("csv", "CsvRows", (".tsv", ".tab"), given=(("delimiter", "\t"),)),
    "avro": _Entry("avro", "AvroRecords", (".avro",), (b"Obj\x01",)),
    "orc": _Entry("orc", "Orc", (".orc",), (b"ORC",)),
    "arrow": _Entry("arrow", "ArrowFiles", (".arrow", ".feather", ".ipc", ".arrows"), ARROW_MARKS),
    "excel": _Entry("excel", "Excel", (".xlsx", ".xlsm")),
}
"""Names, as `--format` takes them."""

TABLES = {
    "bq://": "bigquery:source_at",
    "mixpanel://": "mixpanel_project:source_at",
    "delta:": "delta:source_at",
    "iceberg:": "iceberg:source_at",
}
"""The functions that make a source from an address and options."""


def table_scheme(patterns: Sequence[str]) -> str | None:
    """The prefix in `TABLES` of an input's address; None for files."""
    found = (scheme for scheme in TABLES for each in patterns if each.startswith(scheme))
    return next(found, None)


def make_table(addresses: Sequence[str], given: Mapping[str, Any]) -> TableSource:
    """The table at an address.

    Args:
        addresses: one, which begins with one of `TABLES`.
        given: options by name.

    Raises:
        SettingError: for several, a wrong address, or an option that does not go with it.
    """
    scheme = table_scheme(addresses)
    assert scheme is not None
    if len(addresses) != 1:
        raise SettingError(
            f"Give one {scheme} address at a time, and no files beside it: several tables are "
            "several imports."
        )
    module, _, function = TABLES[scheme].partition(":")
    make = getattr(importlib.import_module(f"mixpanel_sink.read.{module}"), function)
    source: TableSource = make(addresses[0], given)
    return source


def format_kind(name: str) -> type[Format]:
    """The class of a format.

    Raises:
        SettingError: if no format has that name.
    """
    if name not in FORMATS:
        raise SettingError(
            f"There is no format {name!r}.{near(name, list(FORMATS))} Formats are "
            f"{', '.join(FORMATS)}."
        )
    entry = FORMATS[name]
    module = importlib.import_module(f"mixpanel_sink.read.{entry.module}")
    kind: type[Format] = getattr(module, entry.kind)
    return kind


def make_format(name: str, given: Mapping[str, Any]) -> Format:
    """The format of this name, with the given options; None counts as not given.

    Raises:
        SettingError: for an unknown format, an option that it does not have, or a wrong value.
    """
    kind = format_kind(name)
    values = {option: value for option, value in given.items() if value is not None}
    known = [option.name for option in kind.options]
    for option in values:
        if option not in known:
            raise SettingError(f"{option} is not an option of {name} files.{near(option, known)}")
    return kind(**{**dict(FORMATS[name].given), **values})


def format_name(path: str) -> str:
    """The name of a file's format.

    Raises:
        InputError: if neither its name nor its content tells.
    """
    plain = path.lower()
    for suffix in PACKED_SUFFIXES:
        plain = plain.removesuffix(suffix)
    for name, entry in FORMATS.items():
        if plain.endswith(entry.suffixes):
            return name
    try:
        with reached(path), opened(path) as file:
            beginning = bytes(file.read(1024)).removeprefix(b"\xef\xbb\xbf").lstrip()
    except InputError:
        raise
    except Exception as error:  # of the disk, of compression, and of each cloud's client
        raise InputError(f"{path} cannot be read ({short(error)}).") from None
    for name, entry in FORMATS.items():
        if beginning.startswith(entry.marks or (b"\0",)):
            return name
    raise InputError(
        f"Neither the name nor the beginning of {path} tells its format. Choose one with --format: "
        f"{', '.join(FORMATS)}."
    )
