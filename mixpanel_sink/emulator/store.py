"""What the emulator keeps, in SQLite: events, profiles, identities, and a row for each request."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mixpanel_sink.emulator.people import PeopleQueries
from mixpanel_sink.emulator.queries import EventQueries
from mixpanel_sink.emulator.request_log import RequestQueries
from mixpanel_sink.emulator.schema import SCHEMA, connect
from mixpanel_sink.emulator.writer import Writer

if TYPE_CHECKING:
    from mixpanel_sink.emulator.search import Search


class Store:
    """The database: `writer` belongs to one thread; the others to another.

    `path` None keeps it in a temporary file, which `close` removes.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="mixpanel-emulator-") if path is None else None
        place = str(path) if path else os.path.join(str(self._folder), "emulator.db")
        try:
            self._writing = connect(place)
            self._writing.executescript(SCHEMA)
            self._reading = connect(place)
        except sqlite3.Error:
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.writer = Writer(self._writing)
        self.people = PeopleQueries(self._reading)
        self.events = EventQueries(self._reading, self.people)
        self.log = RequestQueries(self._reading)

    @cached_property
    def search(self) -> "Search":
        """The search, which takes a while to load: most emulators are never searched."""
        from mixpanel_sink.emulator.search import Search

        return Search(self._reading)

    def counted(
        self, after: int, seconds: int
    ) -> Iterator[tuple[int, list[tuple[int, str, int, int]]]]:
        """Events by project, name and period of so many seconds; see `blocks.counted`."""
        from mixpanel_sink.emulator import blocks

        return blocks.counted(self._reading, after, seconds)

    def close(self) -> None:
        """Close the database, and remove it if it was temporary."""
        self._reading.close()
        self._writing.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
