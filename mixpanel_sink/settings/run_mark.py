"""`RunMark`: the property by which the events of one run are found again, to delete them."""

from __future__ import annotations

import dataclasses
import secrets
import time
from typing import Any

import orjson

from mixpanel_sink.api.limits import LONG_STRING_BYTES, RESERVED_PROPERTIES
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.mapping import FIXED, EventMapping


@dataclasses.dataclass(frozen=True)
class RunMark:
    """A property that each event of a run carries, outside of what content ids are made of.

    Args:
        name: of the property.
        run: its value, which names the run; one is made where none is given.

    Raises:
        SettingError: for a name that means something else, or a value that Mixpanel would cut.
    """

    name: str
    run: str = ""

    def __post_init__(self) -> None:
        if not self.run:
            object.__setattr__(self, "run", new_run())
        for what, text in (("run_property", self.name), ("run_id", self.run)):
            if not isinstance(text, str) or not text.isprintable() or not text.isascii():
                raise SettingError(
                    f"{what} is {text!r}; use ASCII letters, digits and punctuation."
                )
            if not 0 < len(text) <= LONG_STRING_BYTES:
                raise SettingError(f"{what} must have 1 to {LONG_STRING_BYTES} characters.")
        taken = self.name in (*FIXED, *RESERVED_PROPERTIES)
        if taken or self.name.startswith(("$", "mp_")):
            raise SettingError(
                f"run_property is {self.name!r}, a name that Mixpanel or the sink uses itself. "
                "Choose another, such as import_run."
            )

    @property
    def json(self) -> str:
        """Its part of an event's JSON, with the comma before it."""
        return f",{_quoted(self.name)}:{_quoted(self.run)}"

    def check(self, mapping: Any, columns: list[str] | None = None) -> None:
        """Refuses a mapping that makes a property of this name.

        Args:
            mapping: None for raw events, whose property of this name is replaced.
            columns: of the input, where they are known.

        Raises:
            SettingError: names the way out.
        """
        if not isinstance(mapping, EventMapping):
            return
        names = {*mapping.constants, *mapping.rename.values()}
        if columns is not None and mapping.shape is None:
            names |= {name for name, _ in mapping.plan(tuple(columns))}
        if self.name in names:
            raise SettingError(
                f"The input has a property {self.name!r} already, which run_property would "
                "write as well. Choose another name for run_property, or rename the column."
            )


def new_run() -> str:
    """A name for a run: when it began (UTC), and some letters that no other run has."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
