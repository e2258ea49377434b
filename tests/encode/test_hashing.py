"""BLAKE3 of columns: the plugin and the fall-back agree with the hash of single texts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from blake3 import blake3

from mixpanel_sink.encode import hashing

TEXTS = ["", "a", "é", "😀", "x" * 5000, None, "a"]


@pytest.fixture
def _looked_for_again() -> Iterator[None]:
    before = hashing._found[:]
    hashing._found.clear()
    yield
    hashing._found[:] = before


def hashes(characters: int) -> list[str | None]:
    frame = pl.DataFrame({"v": TEXTS})
    return frame.select(hashing.blake3_hex(pl.col("v"), characters))["v"].to_list()


@pytest.mark.usefixtures("_looked_for_again")
@pytest.mark.parametrize("characters", [8, 32, 64])
@pytest.mark.parametrize("plugin", ["fits", "missing", "of another Polars"])
def test_columns_hash_like_single_texts(
    monkeypatch: pytest.MonkeyPatch, plugin: str, characters: int
) -> None:
    if plugin != "fits":
        error: Exception = ImportError("gone") if plugin == "missing" else SystemError("old")

        def refuse(name: str) -> Any:
            raise error

        monkeypatch.setattr(importlib, "import_module", refuse)
    assert hashes(characters) == [
        None if text is None else blake3(text.encode()).hexdigest()[:characters] for text in TEXTS
    ]
    assert (hashing._found[0] is not None) == (plugin == "fits")
