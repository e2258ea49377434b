"""Reads what a run wrote as failed records, to send it again.

ReadFailedRecords(["failed*.jsonl"]) | WriteToMixpanel(mapping, ...)
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.io import ReadAllFromText
from apache_beam.io.filesystems import FileSystems

from mixpanel_sink import coders
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.files import match_files
from mixpanel_sink.read.given import Patterns, names_of, patterns_of
from mixpanel_sink.read.shown import shown
from mixpanel_sink.report import metrics
from mixpanel_sink.results import REASONS, FailedRecord
from mixpanel_sink.settings.names import near

coders.register()

LINES_CHECKED = 1000
"""Lines of a file that are looked at before anything is sent."""


class ReadFailedRecords(beam.PTransform):
    """Reads JSON lines as `FailedRecord`s. Large files are read in parts, by several workers.

    A line that cannot be read becomes a `FailedRecord` itself (`line_unreadable`, with the line as
    its record), which fails again when it is sent.

    Args:
        patterns: paths or globs, local or of any file system that Beam knows (gs://).
        only: reasons; lines with others are skipped (and counted as `lines_skipped`).

    Returns:
        PCollection of `FailedRecord`.

    Raises:
        SettingError: for a reason that does not exist.
    """

    def __init__(self, patterns: Patterns, only: Collection[str] | None = None) -> None:
        super().__init__()
        self._patterns = patterns_of(patterns)
        only = names_of("only", only)
        check_reasons(only or ())
        self._only = None if only is None else frozenset(only)

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return shown(
            patterns=self._patterns, only=None if self._only is None else sorted(self._only)
        )

    def expand(self, pbegin: Any) -> Any:
        """Builds the flow: patterns, files, lines, failed records."""
        records = (
            pbegin
            | "Patterns" >> beam.Create([self._patterns])
            | "Match" >> beam.FlatMap(match_files).with_output_types(str)
            | "Read lines" >> ReadAllFromText(with_filename=True, coder=BytesCoder())
            | "Parse" >> beam.FlatMap(parse, self._only)
        )
        records.element_type = FailedRecord
        return records


def parse(line: tuple[str, bytes], only: Collection[str] | None = None) -> Iterator[FailedRecord]:
    """The failed record of a line of a file, if it is wanted."""
    file, text = line
    text = text.strip().removeprefix(b"\xef\xbb\xbf")
    if not text:
        return
    try:
        failed = FailedRecord.from_json(text)
    except ValueError as error:
        metrics.count("lines_unreadable")
        yield FailedRecord(
            reason="line_unreadable",
            message=f"A line of {file} is not a failed record: {error}. Correct or remove it.",
            record_json=json.dumps(text.decode("utf-8", "backslashreplace")),
            file=file,
        )
        return
    if only is not None and failed.reason not in only:
        metrics.count("lines_skipped")
        return
    yield failed


def check_reasons(reasons: Collection[str]) -> None:
    """Refuses reasons that do not exist.

    Raises:
        SettingError: names it, and the nearest one.
    """
    for reason in reasons:
        if reason not in REASONS:
            raise SettingError(
                f"The reason {reason!r} is unknown.{near(reason, sorted(REASONS))} "
                "docs/failures.md lists all."
            )


def check_files(files: Sequence[str], only: Collection[str] | None, mapped: bool) -> None:
    """Looks at the first lines of the files, before anything is sent.

    Args:
        files: paths.
        only: the reasons that are wanted.
        mapped: whether there is a mapping.

    Raises:
        InputError: if a file cannot be read, or its first line is not a failed record.
        SettingError: if a record needs a mapping and there is none.
    """
    for path in files:
        try:
            with FileSystems.open(path) as file:
                first = itertools.islice(iter(file.readline, b""), LINES_CHECKED)
                lines = [line for line in first if line.strip()]
        except Exception as error:  # OSError, and what each cloud's client raises
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"{path} cannot be read ({reason}). Check its permissions.") from None
        if lines:
            _check_first(path, lines[0])
        if mapped:
            continue
        for failed in (each for line in lines for each in _parsed(line, only)):
            if failed.event_json is None and isinstance(failed.record, dict):
                raise SettingError(
                    f"{path} holds records that failed before they were events (such as "
                    f"{failed.reason}). Give --mapping, so that they can become events."
                )


def _check_first(path: str, line: bytes) -> None:
    try:
        FailedRecord.from_json(line.strip().removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise InputError(
            f"{path} does not begin with a failed record: {error}. Give the files that "
            "--failed-output wrote."
        ) from None


def _parsed(line: bytes, only: Collection[str] | None) -> Iterator[FailedRecord]:
    try:
        failed = FailedRecord.from_json(line.strip())
    except ValueError:
        return
    if only is None or failed.reason in only:
        yield failed
