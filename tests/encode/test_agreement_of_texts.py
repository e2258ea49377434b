"""Both encoders agree about texts: what is escaped, and what is reserved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink import Column, Constant
from mixpanel_sink.api.limits import RESERVED_DISTINCT_IDS
from tests.encode.arrow_tables import Case
from tests.encode.test_agreement import MAPPING, _check, _table

SPECIAL = ['"', "\\", "\0", "\n", "\x1f", "\x7f", "\u2028", "\ud7ff", "\U0001f600"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("part", ["event", "distinct_id", "ip", "properties"])
def test_characters_are_escaped_wherever_they_are(kind: pa.DataType, part: str) -> None:
    """Columns without any go another way, which looks at a slice's bytes."""
    for special in SPECIAL:
        texts = [pa.array(["a", f"b{special}", None, "c"], kind), pa.array(["", "d", "e"], kind)]
        table = _table(x=pa.chunked_array(texts))
        column: Any = ["x", "t"] if part == "properties" else "x"
        mapping = dataclasses.replace(MAPPING, **{part: column})
        for start in range(7):
            for length in (0, 1, 2, 7):
                _check(Case(table.slice(start, length), mapping))


@pytest.mark.parametrize("fixed", ['q"', "back\\", "line\n", "plain"])
def test_fixed_texts_are_escaped(fixed: str) -> None:
    table = _table(x=["a", None])
    for part in ("event", "distinct_id"):
        instead = dataclasses.replace(MAPPING, **{part: Column("x", if_null=fixed)})
        always = dataclasses.replace(MAPPING, **{part: Constant(fixed)})
        for mapping in (instead, always):
            assert _check(Case(table, mapping))[0].rows.tolist() == [0, 1]
    everywhere = dataclasses.replace(
        MAPPING, constants={fixed: fixed}, rename={"x": fixed + "x"}, ip=Constant(fixed)
    )
    assert _check(Case(table, everywhere, token=fixed))[0].rows.tolist() == [0, 1]


def test_reserved_ids_in_any_case_and_any_alphabet() -> None:
    words = [word.upper() for word in sorted(RESERVED_DISTINCT_IDS)]
    fine = ["user-1", "", "unknowns", "\u0130", "n\u0131l"]
    table = _table(x=[*words, "un\u212anown", *fine])  # the Kelvin sign's lower case is k
    (piece,) = _check(Case(table, dataclasses.replace(MAPPING, distinct_id="x")))
    assert piece.leftover.tolist() == list(range(len(words) + 1))
