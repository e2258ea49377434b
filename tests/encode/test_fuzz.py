"""Random values of every Arrow type; `python -m tests.encode.fuzz` runs as many as one likes."""

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encode.fuzz import SCALARS, Counts, check_column, same_value
from tests.encode.oracle import Refused, expected


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**64))
def test_values_arrive_or_their_record_fails(seed: int) -> None:
    check_column(random.Random(seed), 20, Counts())


@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_every_type(kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.encode.fuzz.random_type", lambda rng: kind)
    for seed in range(3):
        check_column(random.Random(seed), 30, Counts())


def test_the_oracle_itself() -> None:
    assert expected(1234567890123456789, pa.decimal128(38, 0)) == 1234567890123456789
    assert expected(150, pa.decimal128(5, 2)) == 1.5
    assert expected(-1, pa.timestamp("ms", "UTC")) == "1969-12-31T23:59:59.999000Z"
    assert expected(-719_162, pa.date32()) == "0001-01-01"
    with pytest.raises(Refused):
        expected(2**64, pa.decimal128(38, 0))
    assert not same_value(1, 1.0)
    assert not same_value(0.0, -0.0)
