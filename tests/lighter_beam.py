"""Beam asks the same two questions thousands of times while it builds and runs a small pipeline:
what arguments a method has, and what the options of one kind are. In tests that run many small
pipelines, that is half of the work; here each question is asked once.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core


@contextmanager
def lighter_beam() -> Iterator[None]:
    """Beam with a memory for both, as long as the context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "get_function_args_defaults", _once(core.get_function_args_defaults))
        patch.setattr(PipelineOptions, "view_as", _view_once(PipelineOptions.view_as))
        yield


def _once(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    answers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def asked(function: Any) -> Any:
        if not isinstance(function, types.MethodType):
            return ask(function)
        if (answer := answers.get(function.__func__)) is None:
            answer = answers[function.__func__] = ask(function)
        names, defaults = answer
        return list(names), list(defaults)

    return asked


def _view_once(view_as: Callable[..., Any]) -> Callable[..., Any]:
    """Views of one object share its values, so the same view does as well as another."""

    known: dict[tuple[int, type], tuple[Any, Any]] = {}

    def viewed(self: Any, kind: type) -> Any:
        if (id(self), kind) not in known:
            known[id(self), kind] = self, view_as(self, kind)  # itself too, as the id lives with it
        return known[id(self), kind][1]

    return viewed
