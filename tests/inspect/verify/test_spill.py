"""Lines on disk come back whole, equal keys together, and can be rolled back."""

from __future__ import annotations

import pathlib

from mixpanel_sink.inspect.verify.spill import MAX_PARTS, PART_LINES, Spill, parts_for


def everything(spill: Spill) -> list[bytes]:
    return [line for part in range(spill.parts) for line in spill.lines(part)]


def test_lines_come_back_and_equal_keys_together(tmp_path: pathlib.Path) -> None:
    spill = Spill(tmp_path, 50_000)
    assert spill.parts == 5
    for i in range(50_000):
        spill.add(f"key {i % 10_000}", f"{i % 10_000} line {i}".encode())
    parts = [list(spill.lines(part)) for part in range(spill.parts)]
    assert sum(map(len, parts)) == 50_000
    keys = [{line.split()[0] for line in part} for part in parts]
    assert sum(map(len, keys)) == 10_000
    assert all(8000 < len(part) < 12_000 for part in parts)


def test_rollback(tmp_path: pathlib.Path) -> None:
    spill = Spill(tmp_path, 1)
    start = spill.savepoint()
    spill.add("a", b"first")
    spill.rollback(start)
    spill.add("b", b"second")
    middle = spill.savepoint()
    for i in range(10_000):
        spill.add("c", b"third %d" % i)
    spill.rollback(middle)
    spill.add("d", b"fourth")
    assert everything(spill) == [b"second", b"fourth"]


def test_the_number_of_parts_has_an_end() -> None:
    assert parts_for(0) == 1
    assert parts_for(PART_LINES + 1) == 2
    assert parts_for(10**12) == MAX_PARTS
