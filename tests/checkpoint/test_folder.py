"""Small files that are there whole or not at all, on this machine and by Beam's file systems."""

from __future__ import annotations

import os
import pathlib

import pytest

from mixpanel_sink.checkpoint.folder import Folder, _Cloud, _Local, open_folder


def test_which_folder() -> None:
    assert type(open_folder("gs://bucket/x/")) is _Cloud
    assert type(open_folder("x")) is _Local


@pytest.mark.parametrize("kind", [_Local, _Cloud], ids=["local", "by-beam"])
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
