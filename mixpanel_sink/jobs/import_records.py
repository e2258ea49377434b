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
from mixpanel_sink.inspect.fit import check_fit
from mixpanel_sink.jobs.options import (
    MixpanelOptions,
    check_privacy,
    in_turns,
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
from mixpanel_sink.read.source import FileSource, Format
from mixpanel_sink.settings.checkpoint import Checkpoint


def run_source(
    argv: Sequence[str] | None,
    name: str,
    about: str | None,
    format_of: Callable[[PipelineOptions], Format],
    *options: Any,
    needs_mapping: bool = True,
) -> int:
    """Runs a pipeline from files to Mixpanel, and gives the exit code.

    Args:
        argv: the command line, without the program's name; None for this process's.
        name: the module's, for its help.
        about: the module's docstring.
        format_of: makes the format, by the options.
        options: option classes of this source's own.
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
        pipeline = build(given, format_of(given))
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions, format: Format) -> beam.Pipeline:
    """Checks every setting and builds the graph; arguments as those of `run_source`.

    Raises:
        SettingError, InputError: what is wrong, before anything is sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    mapping = mapping_of(own.mapping) if own.mapping else None
    FileSystems.set_options(options)
    source = FileSource(patterns_of(own), format)
    checkpoint = Checkpoint(own.checkpoint, fingerprint(source.files)) if own.checkpoint else None
    write = write_of(own, mapping, checkpoint)
    columns = check_fit(source, mapping, own.destination if mapping is not None else None)
    if columns is not None:
        check_privacy(own, columns)
    before_start(write, options)

    run_in_this_process(options)
    pipeline = make_pipeline(options)
    # The text of a bad record may hold what is not to leave the workers.
    private = bool(own.drop_properties or own.hash_properties)
    read = pipeline | "Read" >> source.read(keep_text=not private, in_turns=in_turns(options))
    result = read.elements | "Write to Mixpanel" >> write
    failed = (result.failed, read.failed) | "All failures" >> beam.Flatten()
    keep_books(result, failed, options)
    return pipeline
