"""The pieces of which an event's JSON is put together."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set

import polars as pl

from mixpanel_sink.encode.columnar.expressions import Piece, inside, line, quoted, written


class Nulls(enum.Enum):
    """How many of a column's values are null."""

    NONE = enum.auto()
    SOME = enum.auto()
    ALL = enum.auto()

    @classmethod
    def of(cls, nulls: int, rows: int) -> Nulls:
        """For so many nulls in so many rows."""
        if not nulls:
            return cls.NONE
        return cls.ALL if nulls == rows else cls.SOME


class Pieces:
    """Puts members together to JSON; neighbours that Polars' JSON writer must write go through it
    together.

    Args:
        schema: of the frame that holds the values.
        nulls: of each of its columns.
        plain: its columns of text that need no escapes.
        json: its columns that hold JSON.
    """

    def __init__(
        self,
        schema: pl.Schema,
        nulls: Mapping[str, Nulls],
        plain: Set[str],
        json: Set[str],
    ) -> None:
        self._schema = schema
        self._nulls = nulls
        self._plain = plain
        self._json = json
        self._pieces: list[Piece] = []
        self._run: list[pl.Expr] = []

    def fixed(self, text: str) -> None:
        """Text that is the same in every row."""
        self._end_run()
        self._pieces.append(text)

    def member(self, name: str, column: str, drop_nulls: bool) -> None:
        """A member of an object, with a comma behind it.

        Args:
            name: its key.
            column: the frame's column with its values.
            drop_nulls: whether rows without a value have no such member.
        """
        nulls = self._nulls[column]
        if drop_nulls and nulls is Nulls.ALL:
            return
        missing = drop_nulls and nulls is Nulls.SOME
        values = pl.col(column)
        texts: list[Piece] | None = [values]
        if column not in self._json:
            texts = written(column, self._schema[column], self._plain)
        if texts is None and not missing:
            self._run.append(values.alias(name))
            return
        self._end_run()
        if texts is None:
            member: list[Piece] = [inside([values.alias(name)]), ","]
        elif missing or nulls is Nulls.NONE:
            member = [f"{quoted(name)}:", *texts, ","]
        else:  # nulls are written as such
            member = [f"{quoted(name)}:", line(texts).fill_null("null"), ","]
        if missing:
            member = [pl.when(values.is_not_null()).then(line(member)).otherwise(pl.lit(""))]
        self._pieces.extend(member)

    def end(self, *pieces: Piece) -> list[Piece]:
        """All pieces, these at the end."""
        self._end_run()
        return [*self._pieces, *pieces]

    def _end_run(self) -> None:
        if self._run:
            self._pieces.extend([inside(self._run), ","])
            self._run = []
