"""From settings to what a graph is built from. Everything that can be wrong shows here, before
anything is read or sent."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.configured import (
    AnyMapping,
    credentials_of,
    projects_of,
    write_of,
)
from mixpanel_sink.jobs import runners
from mixpanel_sink.jobs.command import require
from mixpanel_sink.jobs.incremental import Today, check_alone, give_back, held, today
from mixpanel_sink.jobs.mappings import check_input, is_private, mapping_of
from mixpanel_sink.jobs.outputs import check_output
from mixpanel_sink.jobs.run import before_start, keep_accounts
from mixpanel_sink.jobs.sources import source_of
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, columns_needed
from mixpanel_sink.read.transform import ReadResult
from mixpanel_sink.report.imported import CommitRun
from mixpanel_sink.results import WriteResult
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.options import Settings

if TYPE_CHECKING:
    from mixpanel_sink.configured import Write

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
        today: with a checkpoint of files, what is left to do.
        held: the checkpoint whose lease has to be given back; None without one.
    """

    settings: Settings
    options: PipelineOptions
    source: FileSource
    mapping: AnyMapping | None
    write: Write
    today: Today | None = None
    held: Checkpoint | None = None

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
        FileSystems.set_options(options)
        mapping = mapping_of(settings)
        source = source_of(settings, format, mapping)
        if source.format.states_columns:
            require(settings, "mapping")  # only lines of JSON may be events already
        of_files = bool(settings.checkpoint) and not settings.only_changed  # else of profiles
        if not of_files:
            check_alone(settings)
        if not settings.checkpoint:
            return cls._checked(settings, options, source, mapping)
        checked_write(settings, options, mapping, Checkpoint(settings.checkpoint))
        remote = runners.runs_remotely(options)
        if remote:
            check_output("checkpoint", settings.checkpoint, remote)
        found = today(settings, source, mapping, remote) if of_files else None
        checkpoint = held(settings.checkpoint, remote) if found is None else found.checkpoint
        source = source if found is None else found.source
        try:
            return cls._checked(settings, options, source, mapping, found, checkpoint)
        except BaseException:
            give_back(checkpoint)
            raise

    @classmethod
    def _checked(
        cls,
        settings: Settings,
        options: PipelineOptions,
        source: FileSource,
        mapping: AnyMapping | None,
        found: Today | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Import:
        write = checked_write(settings, options, mapping, checkpoint)
        if found is not None and found.is_empty:
            if not runners.runs_remotely(options):
                write.claim_checkpoint()
        else:
            check_input(source, mapping, settings)
            before_start(write, settings, options)
        return cls(settings, options, source, mapping, write, found, checkpoint)

    @property
    def columns(self) -> Columns:
        """The columns that have to be read."""
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
        elif self.held is not None and runners.runs_remotely(self.options):
            # The job is not waited for, so it gives the lease back itself.
            _ = result.totals | "Give the lease back" >> beam.Map(_given_back, self.held)


def _given_back(_: Any, checkpoint: Checkpoint) -> None:
    give_back(checkpoint)


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
