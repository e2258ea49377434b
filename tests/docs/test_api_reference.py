"""The API reference is made from docstrings: every public name has one, and `make api` works."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys

import pytest

import mixpanel_sink

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", mixpanel_sink.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(mixpanel_sink, name)
    own = value.__doc__ or ""
    assert len(own.split()) >= 4, name
    assert not own.startswith(f"{name}("), f"{name} has only the docstring of a dataclass"
    for part, member in vars(value).items():
        if part.startswith("_") or not inspect.isfunction(member):
            continue
        assert inspect.getdoc(getattr(value, part)), f"{name}.{part}"


def test_the_reference_is_built(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pdoc",
            "--docformat",
            "google",
            "-o",
            str(tmp_path),
            "mixpanel_sink",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "mixpanel_sink.html").read_text()
    assert all(f'id="{name}"' in page for name in mixpanel_sink.__all__)
