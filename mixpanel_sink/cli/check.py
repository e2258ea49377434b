"""`mixpanel-sink check`: what an import would send. It sends nothing, and needs no secret."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.errors import InputError, SettingError


def run(
    files: common.Files,
    mapping: common.Mapping_,
    rows: Annotated[int, typer.Option(help="How many rows to look at, over all files.")] = 10_000,
    everything: Annotated[bool, typer.Option("--all", help="Look at every row.")] = False,
    quota: common.Quota = None,
    as_json: common.AsJson = False,
) -> None:
    """Show five events, what would fail and why, and how long the quota will need.

    Example: mixpanel-sink check events.parquet --mapping events.yaml
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    from mixpanel_sink.inspect.preview import render
    from mixpanel_sink.jobs.import_parquet import previewed

    given = {"input": common.files_option(files), "mapping": mapping, "quota": quota}
    try:
        options = PipelineOptions(common.arguments(given))
        shown = previewed(options, "all" if everything else str(rows))
    except (SettingError, InputError) as error:
        common.fail(str(error))
    if as_json:
        print(json.dumps(dataclasses.asdict(shown), indent=2, default=str))
    else:
        print(render(shown))
        shown_files = " ".join(f"'{file}'" for file in files)
        print(f"\nNext: mixpanel-sink import {shown_files} --mapping {mapping}")
    common.finish(int(bool(shown.files_unreadable)))
