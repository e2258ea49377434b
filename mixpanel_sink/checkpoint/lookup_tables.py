"""What a checkpoint remembers of lookup tables: what each holds, and when it was replaced.

A file for each table, so that two commands for two tables do not disturb each other:

    lookup-table-PROJECT-TABLE.json    {"version": 1, "id": ID, "mark": MARK, "calls": [seconds]}

PROJECT and TABLE are hashes; MARK is of the content, null while it is unknown what Mixpanel holds.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
from blake3 import blake3

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.lookup_tables import CALL_SECONDS, MAX_CALLS
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.owner import project_mark
from mixpanel_sink.errors import CheckpointError, DestinationError

VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Entry:
    mark: str | None = None
    calls: tuple[float, ...] = ()


class TableLog:
    """What is known of one table.

    Args:
        path: of the checkpoint's folder; made if there is none.
        destination, credentials: of the project.
        id: of the table.

    Raises:
        CheckpointError: if the folder cannot be read, or holds something else.
    """

    def __init__(
        self, path: str, destination: Destination, credentials: ResolvedCredentials, id: str
    ) -> None:
        self._folder = open_folder(path)
        self._id = id
        project = project_mark(path, destination.url, credentials)
        self._prefix = f"lookup-table-{_short(f'{destination.url} {project}')}-"
        self._name = f"{self._prefix}{_short(id)}.json"
        try:
            self._entry = self._read(self._name)
        except CheckpointError:
            raise
        except Exception as error:  # OSError, and what each cloud's client raises
            raise self._unusable(error) from None

    def holds(self, mark: str) -> bool:
        """Whether the table was replaced by this content last."""
        return self._entry.mark == mark

    def begin(self, now: float) -> None:
        """A request is about to be sent: from here on it is unknown what Mixpanel holds.

        Raises:
            DestinationError: if the project's calls are used up.
            CheckpointError: if that cannot be written.
        """
        calls = sorted(
            at
            for name in self._names()
            for at in self._read(name).calls
            if now - CALL_SECONDS < at <= now
        )
        if len(calls) >= MAX_CALLS:
            hours = (calls[-MAX_CALLS] + CALL_SECONDS - now) / 3600
            raise DestinationError(
                f"{MAX_CALLS} lookup tables of the project were replaced within 24 hours, which is "
                f"Mixpanel's limit. Run it again in {hours:.1f} hours; nothing was sent."
            )
        own = [at for at in self._entry.calls if now - CALL_SECONDS < at <= now]
        self._write(_Entry(None, (*own, now)))

    def end(self, mark: str) -> None:
        """Mixpanel holds this content.

        Raises:
            CheckpointError: if that cannot be written.
        """
        self._write(dataclasses.replace(self._entry, mark=mark))

    def _names(self) -> list[str]:
        try:
            return self._folder.names(self._prefix)
        except Exception as error:  # as above
            raise self._unusable(error) from None

    def _read(self, name: str) -> _Entry:
        data = self._folder.read(name)
        if data is None:
            return _Entry()
        try:
            found: dict[str, Any] = orjson.loads(data)
            if (version := int(found["version"])) == VERSION:
                mark, calls = found["mark"], found["calls"]
                return _Entry(None if mark is None else str(mark), tuple(map(float, calls)))
        except (ValueError, TypeError, LookupError):
            raise CheckpointError(
                f"{self._folder.path}/{name} is damaged. Remove it: the table is then replaced "
                "once, changed or not."
            ) from None
        raise CheckpointError(
            f"{self._folder.path}/{name} was written by another version of mixpanel_sink (format "
            f"{version}; this one has {VERSION}). Use that version, or remove the file: the table "
            "is then replaced once, changed or not."
        )

    def _write(self, entry: _Entry) -> None:
        line = {"version": VERSION, "id": self._id, **dataclasses.asdict(entry)}
        try:
            self._folder.write(self._name, orjson.dumps(line))
        except Exception as error:  # as above
            raise self._unusable(error) from None
        self._entry = entry

    def _unusable(self, error: Exception) -> CheckpointError:
        if isinstance(error, CheckpointError):
            return error
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
        return CheckpointError(
            f"The checkpoint {self._folder.path} cannot be used ({why or type(error).__name__}). "
            "Check the folder and its permissions."
        )


def _short(text: str) -> str:
    return blake3(text.encode()).hexdigest()[:16]
