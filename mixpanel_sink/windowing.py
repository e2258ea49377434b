"""Carries windows and timestamps past Send, which works in the global window.

State is per window: were Send windowed, each window would have a quota of its own. So
chunks travel in the global window and hold the windows of their events; results get
them back. (Beam's Reshuffle does the same.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.transforms.core import Windowing
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.batch.runs import IN_GLOBAL, Run
from mixpanel_sink.results import AcceptedRecord, FailedRecord, Receipt

GLOBAL = Windowing(GlobalWindows())


class WindowCodec:
    """Windows as text and back.

    Args:
        coder: the input's window coder.
    """

    def __init__(self, coder: Any) -> None:
        self._coder = coder
        self._texts: dict[Any, str] = {}
        self._windows: dict[str, Any] = {"": GlobalWindow()}

    def encode(self, windows: Sequence[Any]) -> tuple[str, ...]:
        """The windows of an element, as texts."""
        if len(windows) == 1 and type(windows[0]) is GlobalWindow:
            return IN_GLOBAL
        return tuple(self._encode(window) for window in windows)

    def decode(self, texts: Iterable[str]) -> tuple[Any, ...]:
        """The windows again."""
        return tuple(self._decode(text) for text in texts)

    def restore(self, value: FailedRecord | Receipt | AcceptedRecord, origin: Run) -> WindowedValue:
        """A result in the windows and at the time of the record that it is about."""
        timestamp = Timestamp(micros=origin.timestamp)
        if value.windows != len(origin.windows):
            value = value._replace(windows=len(origin.windows))
        return WindowedValue(value, timestamp, self.decode(origin.windows))

    def _encode(self, window: Any) -> str:
        if isinstance(window, GlobalWindow):
            return ""
        if (text := self._texts.get(window)) is None:
            if len(self._texts) > 10_000:
                self._texts.clear()
            text = base64.b64encode(self._coder.encode(window)).decode("ascii")
            self._texts[window] = text
        return text

    def _decode(self, text: str) -> Any:
        if (window := self._windows.get(text)) is None:
            if len(self._windows) > 10_000:
                self._windows = {"": GlobalWindow()}
            window = self._windows[text] = self._coder.decode(base64.b64decode(text))
        return window
