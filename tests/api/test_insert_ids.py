"""`$insert_id`s: what Mixpanel takes stays, all else is hashed."""

from __future__ import annotations

import pytest
from blake3 import blake3

from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.api.limits import INSERT_ID, RESERVED_DISTINCT_IDS


@pytest.mark.parametrize("given", ["1", "a-b", "x" * 36, "00", "nulls"])
def test_what_fits_stays(given: str) -> None:
    assert fitting_id(given) == given


@pytest.mark.parametrize(
    "given", ["x" * 37, "a_b", "ü", *sorted(RESERVED_DISTINCT_IDS), "NULL", "True"]
)
def test_the_rest_is_hashed(given: str) -> None:
    assert fitting_id(given) == blake3(given.encode()).hexdigest()[:32]
    assert INSERT_ID.fullmatch(fitting_id(given))
