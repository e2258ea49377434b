"""Another Mixpanel project as an input: `mixpanel://PROJECT?from=2024-01-01&to=2024-01-31`.

Its raw export is read within the export's quota, some days at a time: each part is first written
to a temporary file, since an export that breaks off is asked for again from its beginning.
Records are Mixpanel events, ids included, so that an import needs no mapping.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, ClassVar

import orjson
import pyarrow as pa
from isal import igzip

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.process import EXPORTERS
from mixpanel_sink.read.raw_export import Exporter, export_destination, spans
from mixpanel_sink.read.records import BLOCK_RECORDS, table_of_sample
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, Element
from mixpanel_sink.read.tables import Look, TableFormat, TableSource
from mixpanel_sink.settings.credentials import Credentials, credentials_named
from mixpanel_sink.settings.names import near

SCHEME = "mixpanel://"
QUERIES = 15
"""Exports at most to read all of it: of 60 an hour, so that check, import and verify fit in."""
SAMPLE_ROWS = 10_000
_COLUMNS = ("event", "properties")
_FROM_ENVIRONMENT = {
    "api_secret": "MIXPANEL_SOURCE_API_SECRET",
    "service_account": "MIXPANEL_SOURCE_SERVICE_ACCOUNT",
    "service_account_secret": "MIXPANEL_SOURCE_SERVICE_ACCOUNT_SECRET",
}
"""Used where the address names no credentials: those of the source are not the import's own."""
_PARAMETERS = ("from", "to", "event", "region", "endpoint", "api_secret", "service_account",
               "service_account_secret")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MixpanelProject:
    """Some days of a project's events.

    Attributes:
        project: its number, or any name where an API secret tells which it is.
        first, last: days, both included, as the project counts them.
        credentials: by reference, as for an import; a token may not export.
        events: names; none for all.
        region, endpoint: where the project's data lives.
    """

    project: str
    first: datetime.date
    last: datetime.date
    credentials: Credentials
    events: tuple[str, ...] = ()
    region: str | None = None
    endpoint: str | None = None

    kind: ClassVar[str] = "Mixpanel's export"
    element_type: ClassVar[Any] = RecordBlock
    in_turns: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The address, without credentials."""
        chosen = "".join(f"&event={urllib.parse.quote(name)}" for name in self.events)
        return f"{SCHEME}{self.project}?from={self.first}&to={self.last}{chosen}"

    def look(self) -> Look:
        """The columns of raw events. Asks nothing."""
        return Look(self, pa.schema([("event", pa.string()), ("properties", pa.null())]))

    def parts(self, columns: Sequence[str] | None) -> Iterator[bytes]:
        """Spans of days, one for each export."""
        for first, last in spans(self.first, self.last, QUERIES):
            yield f"{first} {last}".encode()

    def elements(self, part: bytes) -> Iterator[RecordBlock]:
        """The events of some days.

        Raises:
            InputError: if the export is refused, or does not end.
        """
        first, last = map(datetime.date.fromisoformat, part.decode().split())
        with tempfile.TemporaryFile() as file:
            self._download(first, last, file)
            file.seek(0)
            block: list[dict[str, Any]] = []
            with igzip.IGzipFile(fileobj=file, mode="rb") as lines:
                for line in lines:
                    block.append(orjson.loads(line))
                    if len(block) >= BLOCK_RECORDS:
                        yield RecordBlock(block, None)
                        block = []
            if block:
                yield RecordBlock(block, None)

    def _download(self, first: datetime.date, last: datetime.date, file: IO[bytes]) -> None:
        wanted = frozenset(self.events)

        def take(events: Iterator[dict[str, Any]]) -> None:
            file.seek(0)
            file.truncate()
            with igzip.IGzipFile(fileobj=file, mode="wb", compresslevel=1) as lines:
                for event in events:
                    if not wanted or event["event"] in wanted:
                        lines.write(orjson.dumps(event) + b"\n")

        destination = export_destination(self.region, self.endpoint)
        exporter = EXPORTERS.get(
            (destination, self.credentials), lambda: Exporter(destination, self.credentials)
        )
        try:
            exporter.read(first, last, self.events or None, take)
        except DestinationError as error:  # it is the source, and not where the events go
            raise InputError(f"{self.name}: {error}") from None


class RawEvents(TableFormat):
    """How a project's events come: as JSON, whose columns only the events tell. Its sample is of
    the day in the middle, which is asked for once."""

    name: ClassVar[str] = "raw events"
    states_columns: ClassVar[bool] = False
    states_types: ClassVar[bool] = False
    table: MixpanelProject

    @functools.cached_property
    def one_day(self) -> tuple[list[dict[str, Any]], int]:
        """Its first events, and how many it has."""
        middle = self.table.first + (self.table.last - self.table.first) // 2
        part = f"{middle} {middle}".encode()
        events: list[dict[str, Any]] = []
        count = 0
        for block in self.table.elements(part):
            count += len(block.records)
            events += map(dict, block.records[: SAMPLE_ROWS - len(events)])
        return events, count

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first events of that day."""
        return table_of_sample(_COLUMNS, self.one_day[0][:rows])

    def estimated_rows(self, path: str) -> int:
        """If every day had as many as that one."""
        return self.one_day[1] * ((self.table.last - self.table.first).days + 1)


class ProjectSource(TableSource):
    """Some days of a project's events as an input of the commands."""

    def __init__(self, project: MixpanelProject) -> None:
        self._events = RawEvents(project)
        super().__init__(project, self._events)

    def spread(self, rows: int, columns: Columns = ALL_COLUMNS) -> Iterator[Element]:
        """The events of one day, since an export of all days would use up the quota."""
        if sample := self._events.one_day[0][:rows]:
            yield RecordBlock(sample, None)


def source_at(address: str, given: Mapping[str, Any]) -> ProjectSource:
    """The events at `mixpanel://PROJECT?from=...&to=...`.

    Args:
        address: of the project; its parameters are from, to, event, region or endpoint, and
            references to credentials.
        given: other options, of which there are none.

    Raises:
        SettingError: for a parameter that is missing, unknown or wrong.
    """
    if given:
        raise SettingError(f"--{next(iter(given))} is for BigQuery, and the input is {SCHEME}.")
    project, _, query = address.removeprefix(SCHEME).partition("?")
    values: dict[str, list[str]] = urllib.parse.parse_qs(query)
    for name in values:
        if name not in _PARAMETERS:
            raise SettingError(
                f"{SCHEME} has no parameter {name!r}.{near(name, _PARAMETERS)} There are: "
                f"{', '.join(_PARAMETERS)}."
            )
    one = {name: texts[-1] for name, texts in values.items()}
    if not project or "from" not in one or "to" not in one:
        raise SettingError(
            "Write the project and its days as 'mixpanel://PROJECT?from=2024-01-01&to=2024-01-31' "
            "(in quotes: a shell reads & as its own)."
        )
    first, last = _day(one["from"]), _day(one["to"])
    if last < first:
        raise SettingError(f"The last day, {last}, is before the first, {first}.")
    region, endpoint = one.get("region"), one.get("endpoint")
    export_destination(region, endpoint)
    return ProjectSource(
        MixpanelProject(
            project,
            first,
            last,
            _credentials(project, one),
            tuple(values.get("event", ())),
            region,
            endpoint,
        )
    )


def _credentials(project: str, given: Mapping[str, str]) -> Credentials:
    found = {name: given.get(name) for name in _FROM_ENVIRONMENT}
    if not any(found.values()):
        found = {n: _reference(n) for n, v in _FROM_ENVIRONMENT.items() if os.environ.get(v)}
    if not any(found.values()):
        raise SettingError(
            f"No credentials for {SCHEME}{project}, which are not those of the import: set "
            "MIXPANEL_SOURCE_API_SECRET, or MIXPANEL_SOURCE_SERVICE_ACCOUNT and "
            "MIXPANEL_SOURCE_SERVICE_ACCOUNT_SECRET, or add a reference such as "
            "&api_secret=env:NAME to the address."
        )
    account = found.get("service_account")
    return credentials_named(
        f"{SCHEME} ", found.get("api_secret"), account, found.get("service_account_secret"),
        project if account else None, None,
    )  # fmt: skip


def _reference(name: str) -> str:
    """What the environment's variable is to the credentials: a name, or a reference to it."""
    variable = _FROM_ENVIRONMENT[name]
    return os.environ[variable] if name == "service_account" else f"env:{variable}"


def _day(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise SettingError(f"{text!r} is not a day; write one as 2024-05-31.") from None
