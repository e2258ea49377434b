"""From settings to what a graph is built of. Everything that can be wrong shows here, before
anything is read or sent."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import dataclasses
import logging
from collections.abc import Collection
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.configured import (
    MAPPINGS,
    AnyMapping,
    Write,
    credentials_of,
    projects_of,
    text_of,
    write_of,
)
from mixpanel_sink.errors import SettingError
from mixpanel_sink.inspect.fit import check_fit
from mixpanel_sink.jobs import runners
from mixpanel_sink.jobs.command import require
from mixpanel_sink.jobs.incremental import Today, check_alone, today
from mixpanel_sink.jobs.outputs import check_output
from mixpanel_sink.jobs.run import before_start, keep_accounts
from mixpanel_sink.jobs.sources import check_positions, source_of
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, columns_needed
from mixpanel_sink.read.transform import ReadResult
from mixpanel_sink.report.imported import CommitRun
from mixpanel_sink.results import WriteResult
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import named, near
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.shape import Shape

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Import:
    """An import that has been checked, and of which a graph can be built.

    Attributes:
        settings: of the user.
        options: Beam's.
        source: the input.
        mapping: how records become events or updates; None if they are events already.
        write: the transform that sends them.
        today: with a checkpoint, what is left to do; its lease has to be released.
    """

    settings: Settings
    options: PipelineOptions
    source: FileSource
    mapping: AnyMapping | None
    write: Write
    today: Today | None = None

    @classmethod
    def of(cls, settings: Settings, options: PipelineOptions, format: str | None = None) -> Import:
        """Checks the settings and the beginning of the input.

        Args:
            settings: of the user.
            options: Beam's.
            format: of the files where the settings do not say; None: by name or content.

        Raises:
            SettingError, InputError, DestinationError: what is wrong.
        """
        require(settings, "input")
        if settings.limit and settings.checkpoint:
            raise SettingError(
                "--limit is for trying, and a checkpoint is of a whole import: leave one out. What "
                "was sent with --limit is not doubled by the whole import."
            )
        FileSystems.set_options(options)
        mapping = mapping_of(settings)
        source = source_of(settings, format, mapping)
        if source.format.states_columns:
            require(settings, "mapping")  # only lines of JSON may be events already
        if not settings.checkpoint or settings.only_changed:  # of profiles, and not of files
            check_alone(settings)
            return cls._checked(settings, options, source, mapping)
        checked_write(settings, options, mapping, Checkpoint(settings.checkpoint))
        remote = runners.runs_remotely(options)
        if remote:
            check_output("checkpoint", settings.checkpoint, remote)
        found = today(settings, source, mapping, remote)
        try:
            return cls._checked(settings, options, found.source, mapping, found)
        except BaseException:
            found.release()
            raise

    @classmethod
    def _checked(
        cls,
        settings: Settings,
        options: PipelineOptions,
        source: FileSource,
        mapping: AnyMapping | None,
        found: Today | None = None,
    ) -> Import:
        checkpoint = None if found is None else found.checkpoint
        if settings.only_changed and settings.checkpoint:
            checkpoint = Checkpoint(settings.checkpoint)
        write = checked_write(settings, options, mapping, checkpoint)
        if found is not None and found.is_empty:
            if not runners.runs_remotely(options):
                write.claim_checkpoint()
        else:
            check_input(source, mapping, settings)
            before_start(write, settings, options)
        return cls(settings, options, source, mapping, write, found)

    @property
    def columns(self) -> Columns:
        """The columns that must be read."""
        if self.mapping is None:
            return ALL_COLUMNS
        destination = self.settings.destination
        return columns_needed(self.mapping, [destination] if destination else [])

    def read(self) -> Any:
        """A transform that reads the input and gives a `ReadResult`."""
        return self.source.read(
            self.columns,
            keep_text=not is_private(self.settings),
            in_turns=runners.in_turns(self.options),
        )

    def end(self, source: ReadResult, result: WriteResult, failed: Any) -> None:
        """Keeps the failed records, sums everything up, and enters it into the checkpoint.

        Args:
            source: what `read` gave.
            result: of the write.
            failed: PCollection of `FailedRecord`: the write's, and those of the source.
        """
        run = None if self.today is None else self.today.run
        kept = keep_accounts(result, failed, self.settings, "" if run is None else run.run)
        if run is not None:
            commit = CommitRun(run, result, failed, source.listed, kept, source.watermarks)
            _ = result.read.pipeline | "Enter into the checkpoint" >> commit


def is_private(settings: Settings) -> bool:
    """Whether the text of a bad line may hold what must not leave the workers."""
    return bool(settings.drop_properties or settings.hash_properties)


def mapping_of(settings: Settings) -> AnyMapping | None:
    """The mapping in the settings' file, if there is one. Ids of events are from position where it
    does not say: real tables hold rows that are equal and yet two events.

    Raises:
        SettingError: if it cannot be read, or is wrong.
    """
    if not settings.mapping:
        if settings.from_day or settings.to_day or settings.events or settings.where:
            raise SettingError("--from, --to, --events and --where need --mapping.")
        return None
    text = text_of(settings.mapping, "mapping")
    mapping = filtered(MAPPINGS[settings.endpoint_kind].from_yaml(text), settings)
    if isinstance(mapping, EventMapping) and mapping.insert_id is None:
        return dataclasses.replace(mapping, insert_id=PositionId())
    return mapping


def filtered(mapping: AnyMapping, settings: Settings) -> AnyMapping:
    """The mapping with the settings' filters beside its own. Of days and names the settings' count.

    Raises:
        SettingError: for filters of events where there are none, or a condition that is wrong.
    """
    if settings.where:
        shape = mapping.shape if isinstance(mapping.shape, Shape) else Shape()
        alone = dataclasses.replace(shape, where=settings.where)  # it must be right by itself
        both = f"({shape.where}) AND ({settings.where})" if shape.where else settings.where
        mapping = dataclasses.replace(mapping, shape=dataclasses.replace(alone, where=both))
    given = {
        "first_day": settings.from_day, "last_day": settings.to_day, "events": settings.events
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value}
    if not given:
        return mapping
    if not isinstance(mapping, EventMapping):
        raise SettingError("--from, --to and --events are for events; use --where for profiles.")
    own = mapping.filter if isinstance(mapping.filter, Filter) else Filter()
    return dataclasses.replace(mapping, filter=dataclasses.replace(own, **given))  # type: ignore[arg-type]


def checked_write(
    settings: Settings,
    options: PipelineOptions,
    mapping: AnyMapping | None,
    checkpoint: Checkpoint | None,
) -> Write:
    """The transform that the settings describe. Secrets resolve here if the workers are here.

    Raises:
        SettingError: what is wrong.
    """
    write = write_of(settings, mapping, checkpoint)
    if not runners.runs_remotely(options):
        projects = projects_of(settings)
        every = (
            [credentials_of(settings)]
            if projects is None
            else [project.credentials for project in projects.values()]
        )
        for credentials in every:
            credentials.resolve()  # a bad reference shows now
    return write


def check_input(source: FileSource, mapping: AnyMapping | None, settings: Settings) -> None:
    """Refuses a mapping, or columns for the project or to hide, that do not fit the input.

    Raises:
        InputError, SettingError: what is wrong.
    """
    check_positions(source, mapping)
    destination = settings.destination if mapping is not None else None
    columns = check_fit(source, mapping, destination)
    if columns is None:
        return
    check_privacy(settings, columns)
    _check_condition(mapping, columns)


def _check_condition(mapping: AnyMapping | None, columns: Collection[str]) -> None:
    """Says which column of `where` no file has: a condition on nothing leaves everything out."""
    shape = getattr(mapping, "shape", None)
    if not isinstance(shape, Shape) or shape.json or shape.flatten or shape.split:
        return
    for name in shape.condition_columns():
        if name not in columns and name not in shape.defaults:
            _LOGGER.warning(
                "where names %r, which the input does not have; there it counts as null.", name
            )


def check_privacy(settings: Settings, columns: Collection[str]) -> None:
    """Refuses a misspelt column to drop or hash: what was to be hidden would be sent. Another that
    is not there may be meant for other files: that is said only.

    Raises:
        SettingError: names it.
    """
    for option in ("drop_properties", "hash_properties"):
        for name in getattr(settings, option):
            if name in columns:
                continue
            said = f"{named('--', option)} names {name!r}, which the input does not have."
            if meant := near(name, sorted(columns)):
                raise SettingError(f"{said}{meant} Nothing was sent.")
            _LOGGER.warning("%s", said)
