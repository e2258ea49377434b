"""`Shape`: how columns are unpacked, converted and filtered before the mapping looks at them.

The steps always run in this order, whatever order they are given in:

    json      JSON text becomes columns
    flatten   objects, maps and lists of {key, value} become columns
    split     text becomes a list, or several columns
    join      several columns become one of text
    cast      a column gets another type
    defaults  nulls and missing columns get a value
    where     records that do not match are left out
    sample    only some users' records are kept
    drop      columns are removed by pattern
    rename    columns are renamed by pattern

Nothing here executes code: `where` is an expression of Polars SQL over the columns of one record.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.names import check_keys, check_name, check_names, near

CASTS = ("text", "integer", "number", "boolean", "time")
"""What `cast` can make of a column. "time" reads ISO 8601 text."""
_OF_SEVERAL = ('{"Agg":', '{"Over":', '"expr":"Len"', '"function":{"Quantile":')
"""Parts of a condition, as Polars writes it down, that look at more than one record. No text in a
condition can hold them: its quotes are escaped there."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Text to a list, or to columns.

    Args:
        by: what stands between the parts; it may not be empty.
        into: names of the columns that get the parts. Parts that are missing are null, and the last
            column gets all that is left. Without names the column becomes a list.
    """

    by: str
    into: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.by, str) or not self.by:
            raise MappingError('split needs a separator, such as {by: ","}.')
        check_names("into", self.into)
        object.__setattr__(self, "into", tuple(self.into))


@dataclasses.dataclass(frozen=True)
class Join:
    """Several columns to one of text.

    Args:
        columns: in the order of their parts. Nulls are left out.
        by: what stands between the parts.
    """

    columns: Sequence[str]
    by: str = " "

    def __post_init__(self) -> None:
        check_names("join", self.columns)
        if not self.columns:
            raise MappingError("join needs columns, such as {joined_at: [date, time]}.")
        if not isinstance(self.by, str):
            raise MappingError(f"join puts {self.by!r} between the parts; give text.")
        object.__setattr__(self, "columns", tuple(self.columns))


@dataclasses.dataclass(frozen=True)
class Sample:
    """Keeps all records of some users and none of the others; the same users in every run.

    Args:
        column: the user's id.
        percent: of the users, above 0 and up to 100.
    """

    column: str
    percent: float

    def __post_init__(self) -> None:
        make_plain(self)
        check_name(self.column)
        known = isinstance(self.percent, int | float) and not isinstance(self.percent, bool)
        if not known or not 0 < self.percent <= 100:
            raise MappingError(f"sample's percent is {self.percent!r}; it is above 0, up to 100.")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What happens to columns before the mapping; see the module for the order.

    Args:
        json: columns of JSON objects as text, and the prefix of the columns made of their keys; a
            list stands for no prefix. The column itself goes.
        flatten: columns of objects, maps or lists of {key, value}, likewise.
        split: by column.
        join: columns to join, by the name of the column that they make: a list of them, or a
            `Join`. They stay; one of that name is replaced.
        cast: "text", "integer", "number", "boolean" or "time", by column.
        defaults: a value for nulls, by column.
        where: a condition such as "amount > 0 AND country IN ('DE', 'AT')".
        sample: which users to keep.
        drop: patterns of columns to remove, with `*` and `?`, such as "internal_*".
        rename: regular expressions for whole names, and what to make of them, such as
            {"utm_(.*)": "campaign_\\1"}.

    Raises:
        MappingError: names the part that is wrong.

    >>> Shape(flatten=["event_params"], where="platform = 'WEB'").flatten
    {'event_params': ''}
    """

    json: Mapping[str, str] | Sequence[str] | str = dataclasses.field(default_factory=dict)
    flatten: Mapping[str, str] | Sequence[str] | str = dataclasses.field(default_factory=dict)
    split: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    join: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cast: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    where: str | None = None
    sample: Sample | Mapping[str, Any] | None = None
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)
        for name in ("json", "flatten"):
            put(name, _prefixes(name, getattr(self, name)))
        for name in ("split", "join", "cast", "defaults", "rename"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise MappingError(f"shape.{name} is {value!r}; give columns and what they become.")
            for column in value:
                check_name(column)
            put(name, dict(value))
        put("split", {column: _split(value) for column, value in self.split.items()})
        put("join", {column: _join(value) for column, value in self.join.items()})
        for column, kind in self.cast.items():
            if kind not in CASTS:
                raise MappingError(
                    f"shape.cast makes {column!r} {kind!r}.{near(str(kind), CASTS)} It can be "
                    f"{', '.join(CASTS)}."
                )
        for column, value in self.defaults.items():
            if not isinstance(value, str | int | float | bool):
                raise MappingError(f"shape.defaults gives {column!r} {value!r}; give one value.")
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise MappingError(
                    f"shape.defaults gives {column!r} an integer beyond 64 bits. Give it as text."
                )
        if self.where is not None and (not isinstance(self.where, str) or not self.where.strip()):
            raise MappingError('shape.where is a condition, such as "amount > 0".')
        self.condition_columns()
        if self.where is not None and _looks_at_several(self.where):
            raise MappingError(
                f"where looks at one record at a time, and {self.where!r} at several: leave out "
                "SUM, COUNT, MAX and the like, which would see a batch of records."
            )
        if isinstance(self.sample, Mapping):
            check_keys(self.sample, ["column", "percent"])
            put("sample", Sample(self.sample.get("column", ""), self.sample.get("percent", 0)))
        if isinstance(self.drop, str) or not isinstance(self.drop, list | tuple):
            raise MappingError("shape.drop is a list of patterns, such as [internal_*].")
        check_names("drop", self.drop)
        put("drop", tuple(self.drop))
        for pattern in self.rename:
            try:
                re.compile(pattern)
            except re.error as error:
                raise MappingError(
                    f"shape.rename has {pattern!r}, which is not a regular expression ({error})."
                ) from None

    @classmethod
    def from_dict(cls, settings: Any) -> Shape:
        """From what YAML gives.

        Raises:
            MappingError: names the key that is unknown or wrong.
        """
        check_keys(settings, [field.name for field in dataclasses.fields(cls)])
        return cls(**settings)

    def condition_columns(self) -> list[str]:
        """The columns that `where` uses."""
        if self.where is None:
            return []
        import polars as pl  # here, because most mappings have no condition

        try:
            return pl.sql_expr(self.where).meta.root_names()
        except pl.exceptions.PolarsError as error:
            said = str(error).partition("\n")[0]
            raise MappingError(
                f"where cannot be read: {said}. The condition is {self.where!r}; see docs/shape.md."
            ) from None

    def reads(self) -> list[str] | None:
        """The columns that its steps look at, of an input that they leave as it is but for casts;
        None if they may make columns or rename them."""
        if self.makes_columns() or self.defaults or self.drop or self.rename:
            return None
        sample = [self.sample.column] if isinstance(self.sample, Sample) else []
        return [*self.cast, *self.condition_columns(), *sample]

    def makes_columns(self) -> bool:
        """Whether a step makes columns of others."""
        return bool(self.json or self.flatten or self.split or self.join)

    def untouched(self, name: str) -> bool:
        """Whether a column that the input has is the same behind the steps, wherever it has a
        value."""
        made = {*self.join, *(part for how in self.split.values() for part in how.into)}
        return not self.rename and name not in (
            made | self.json.keys() | self.flatten.keys() | self.split.keys() | self.cast.keys()  # type: ignore[union-attr]
        )

    def names(self, columns: Sequence[str]) -> list[str] | None:
        """The columns that it makes of these; None if only the data tell.

        Raises:
            MappingError: for a column that is not there, where another has nearly its name; or for
                two columns of one name.
        """
        parts = {*self.join, *(part for how in self.split.values() for part in how.into)}
        joined = [name for how in self.join.values() for name in how.columns]
        later = [*joined, *self.cast, *self.condition_columns()]
        asked = [name for name in later if name not in (parts | self.defaults.keys())]
        taken = (*self.json, *self.flatten, *self.split, *asked)
        others = [  # what the shape names as well is not a misspelt name of another column
            name
            for name in columns
            if name not in taken and not any(fnmatch.fnmatchcase(name, p) for p in self.drop)
        ]
        for name in taken if not (self.json or self.flatten) else (*self.json, *self.flatten):
            if name not in columns and (meant := near(name, others)):
                raise MappingError(f"shape names {name!r}, which the input does not have.{meant}")
        if any(name in columns for name in (*self.json, *self.flatten)):
            return None
        made = [name for name in columns if not (name in self.split and self.split[name].into)]
        for name, how in self.split.items():
            if name in columns:
                made += [part for part in how.into if part not in made]
        for name, join in self.join.items():
            if name not in made and any(column in made for column in join.columns):
                made.append(name)
        made += [name for name in self.defaults if name not in made]
        return list(self.renamed(made).values())

    def renamed(self, columns: Sequence[str]) -> dict[str, str]:
        """The columns that are left by `drop`, and what `rename` calls them.

        Raises:
            MappingError: if two get one name.
        """
        kept: dict[str, str] = {}
        for name in columns:
            new = self.new_name(name)
            if new is None:
                continue
            if new in kept.values():
                raise MappingError(f"shape gives two columns the name {new!r}. Rename one of them.")
            kept[name] = new
        return kept

    def new_name(self, name: str) -> str | None:
        """What `rename` calls a column; None if `drop` removes it.

        Raises:
            MappingError: for a pattern that cannot be filled in.
        """
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.drop):
            return None
        return next(self._names_of(name), name)

    def _names_of(self, name: str) -> Iterator[str]:
        for pattern, to in self.rename.items():
            if match := re.fullmatch(pattern, name):
                try:
                    yield match.expand(to)
                except (re.error, IndexError) as error:
                    raise MappingError(
                        f"shape.rename's {to!r} does not fit {pattern!r}: {error}."
                    ) from None


def _looks_at_several(where: str) -> bool:
    import polars as pl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the form may change; what is not known is let through
        form = pl.sql_expr(where).meta.serialize(format="json")
    return any(part in form for part in _OF_SEVERAL)


def _prefixes(name: str, given: Any) -> dict[str, str]:
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        prefixes = dict(given)
    elif isinstance(given, list | tuple):
        prefixes = dict.fromkeys(given, "")
    else:
        raise MappingError(f"shape.{name} is {given!r}; give a column, or a list of columns.")
    for column, prefix in prefixes.items():
        check_name(column)
        if not isinstance(prefix, str):
            raise MappingError(f"shape.{name}'s prefix for {column!r} is {prefix!r}; give text.")
    return prefixes


def _split(given: Any) -> Split:
    if isinstance(given, Split):
        return given
    if isinstance(given, Mapping):
        check_keys(given, ["by", "into"])
        return Split(given.get("by", ""), given.get("into", ()))
    return Split(given)


def _join(given: Any) -> Join:
    if isinstance(given, Join):
        return given
    if isinstance(given, Mapping):
        check_keys(given, ["columns", "by"])
        return Join(given.get("columns", ()), given.get("by", " "))
    return Join(given)
