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
    MOST = enum.auto()
    ALL = enum.auto()

    @classmethod
    def of(cls, nulls: int, rows: int) -> Nulls:
        """How to write a column with so many nulls in so many rows."""
        if not nulls or nulls == rows:
            return cls.ALL if nulls else cls.NONE
        return cls.MOST if nulls > rows // 2 else cls.SOME


class Pieces:
    """Puts members together to JSON; neighbours that Polars' JSON writer must write go through it
    together. A member that a row does not have is null.

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
        """Adds text that is the same in every row."""
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
        if drop_nulls and nulls is not Nulls.NONE:
            self._end_run()
            self._pieces.append(self._optional(name, column, nulls))
            return
        values = pl.col(column)
        texts = self._texts(column, values)
        if texts is None:
            self._run.append(values.alias(name))
            return
        if nulls is not Nulls.NONE:  # nulls are written as such
            texts = [line(texts).fill_null("null")]
        self._end_run()
        self._pieces.extend([f"{quoted(name)}:", *texts, ","])

    def _texts(self, column: str, values: pl.Expr) -> list[Piece] | None:
        """The pieces of a column's values; None if Polars' JSON writer must write them."""
        if column in self._json:
            return [values]
        return written(column, values, self._schema[column], self._plain)

    def _optional(self, name: str, column: str, nulls: Nulls) -> pl.Expr:
        """A member that some rows do not have. Where most do not, and to write a value costs more
        than to put it in its place, only the others are written."""
        values = pl.col(column)
        present = values.is_not_null()
        few = nulls is Nulls.MOST and self._schema[column] != pl.String
        if few:
            values = values.drop_nulls()
        texts = self._texts(column, values)
        pieces = [inside([values.alias(name)])] if texts is None else [f"{quoted(name)}:", *texts]
        member = line([*pieces, ","])
        if few:
            return member.gather(pl.when(present).then(present.cum_sum() - 1))
        return pl.when(present).then(member) if texts is None else member

    def end(self, *pieces: Piece) -> list[Piece]:
        """All pieces, with these at the end."""
        self._end_run()
        return [*self._pieces, *pieces]

    def _end_run(self) -> None:
        if self._run:
            self._pieces.extend([inside(self._run), ","])
            self._run = []
