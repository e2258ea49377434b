"""What the pipelines that read records share: one source each, all else alike."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from mixpanel_sink.checkpoint.owner import fingerprint
from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.jobs.options import (
    MixpanelOptions,
    check_privacy,
    mapping_of,
    patterns_of,
    pipeline_arguments,
    require,
    write_of,
)
from mixpanel_sink.jobs.run import (
    EXIT_SETTING,
    before_start,
    keep_books,
    make_pipeline,
    run,
    run_in_this_process,
)
from mixpanel_sink.read import Reader, ReadRecords
from mixpanel_sink.read.parquet import match_sizes
from mixpanel_sink.read.records import checked_columns
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.mapping import EventMapping

_FILES_CHECKED = 20
"""Files whose columns are looked at before anything is sent."""


def run_source(
    argv: Sequence[str] | None,
    name: str,
    about: str | None,
    reader_of: Callable[[PipelineOptions], Reader],
    *options: Any,
    exact: bool = True,
    needs_mapping: bool = True,
) -> int:
    """Runs a pipeline from files to Mixpanel, and gives the exit code.

    Args:
        argv: the command line, without the program's name; None for this process's.
        name: the module's, for its help.
        about: the module's docstring.
        reader_of: makes the reader, by the options.
        options: option classes of this source's own.
        exact: whether every file has the same columns, so that one which the mapping names
            and the files do not have is a mistake.
        needs_mapping: whether there must be a mapping; else records may be Mixpanel events.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        arguments = pipeline_arguments(
            sys.argv[1:] if argv is None else argv,
            f"python -m {name}",
            about,
            MixpanelOptions,
            *options,
        )
        given = PipelineOptions(arguments)
        require(given.view_as(MixpanelOptions), "input", *(["mapping"] if needs_mapping else []))
        pipeline = build(given, reader_of(given), exact)
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions, reader: Reader, exact: bool = True) -> beam.Pipeline:
    """Checks every setting and builds the graph; arguments as those of `run_source`.

    Raises:
        SettingError, InputError: what is wrong, before anything is sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    mapping = mapping_of(own.mapping) if own.mapping else None
    patterns = patterns_of(own)
    FileSystems.set_options(options)
    files = [file for pattern in patterns for file in match_sizes(pattern)]
    checkpoint = Checkpoint(own.checkpoint, fingerprint(files)) if own.checkpoint else None
    write = write_of(own, mapping, checkpoint)
    columns = check_files([path for path, _ in files][:_FILES_CHECKED], reader, mapping, exact)
    if columns and exact:
        check_privacy(own, columns)
    before_start(write, options)

    run_in_this_process(options)
    pipeline = make_pipeline(options)
    # The text of a bad record may hold what is not to leave the workers.
    private = bool(own.drop_properties or own.hash_properties)
    source = pipeline | "Read" >> ReadRecords(patterns, reader, keep_text=not private)
    result = source.records | "Write to Mixpanel" >> write
    failed = (result.failed, source.failed) | "All failures" >> beam.Flatten()
    keep_books(result, failed, options)
    return pipeline


def check_files(
    paths: Sequence[str], reader: Reader, mapping: EventMapping | None, exact: bool = True
) -> Sequence[str]:
    """Refuses a mapping that fits none of the files looked at, and files that are none; gives the
    columns of the first that is all right.

    Raises:
        InputError: if none can be read.
        SettingError: if there is no record that the mapping fits.
    """
    wrong: list[InputError | SettingError] = []
    for path in paths:
        try:
            columns = checked_columns(reader, path)
            if mapping is not None and columns:
                known: set[str] = set()
                if not exact:  # only what every event needs
                    known = {*mapping.rename, *mapping.exclude}
                    known |= set(() if mapping.properties == "all" else mapping.properties)
                mapping.check_columns(dict.fromkeys([*columns, *sorted(known)]))
            return columns
        except (InputError, SettingError) as error:
            wrong.append(error)
    if wrong:
        raise wrong[0]
    return ()
