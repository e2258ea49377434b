"""The API reference is made from docstrings: every public name has one."""

from __future__ import annotations

import inspect

import pytest

import mixpanel_sink


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
