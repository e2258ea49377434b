"""Small files that are there whole or not at all, on this machine and by Beam's file systems."""

from __future__ import annotations

import os
import pathlib

import pytest

from mixpanel_sink.checkpoint.clouds import _Other
from mixpanel_sink.checkpoint.folder import _Local, open_folder
from mixpanel_sink.checkpoint.stored import ABSENT, Changed, Folder


@pytest.mark.parametrize("kind", [_Local, _Other], ids=["local", "by-beam"])
def test_files(tmp_path: pathlib.Path, kind: type) -> None:
    folder: Folder = kind(str(tmp_path / "a"))
    assert folder.names("x") == []
    assert folder.read("x-1") is None
    folder.write("x-1", b"one")
    folder.write("x-1", b"\x00two")
    folder.write("y", b"")
    assert folder.read("x-1") == b"\x00two"
    assert folder.names("x") == ["x-1"]
    folder.remove("x-1")
    folder.remove("x-1")
    assert folder.names("") == ["y"]


def test_a_write_that_breaks_off_leaves_the_old_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(str(tmp_path))
    folder.write("x", b"old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("x", b"new")
    assert folder.read("x") == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", [_Local, _Other], ids=["local", "by-beam"])
def test_a_file_that_somebody_else_changed_is_not_replaced(
    tmp_path: pathlib.Path, kind: type
) -> None:
    folder: Folder = kind(str(tmp_path))
    first = folder.write("x", b"one", ABSENT)
    second = folder.write("x", b"two", first)
    for old in (ABSENT, first):
        with pytest.raises(Changed):
            folder.write("x", b"three", old)
    folder.remove("x", first)
    assert folder.read("x") == b"two"
    folder.remove("x", second)
    assert folder.read("x") is None
