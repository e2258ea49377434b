"""`mixpanel-sink init`: a mapping to begin with."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.errors import InputError, MixpanelSinkError, OutputError, writing
from mixpanel_sink.inspect.presets import PRESETS, mapping_of_preset, preset_for
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import Settings


def run(
    settings: Settings,
    output: Annotated[
        pathlib.Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write the mapping."),
    ] = pathlib.Path("mapping.yaml"),
    event: Annotated[
        str | None,
        typer.Option(
            "--event", metavar="NAME", help="What to call the events if no column names them."
        ),
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TOOL", help=f"The export of another tool: {', '.join(PRESETS)}."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
    as_json: common.AsJson = False,
) -> None:
    """Propose a mapping for a file, and mark what you should confirm.

    Example: mixpanel-sink init 'events/*.parquet' -o events.yaml
    """
    from mixpanel_sink.inspect.propose import SAMPLE_ROWS, Proposal, propose_for
    from mixpanel_sink.jobs.outputs import write_text
    from mixpanel_sink.jobs.sources import source_of

    if output.exists() and not force and not as_json:
        common.fail(f"{output} is there already. Give another --output, or --force.")
    try:
        source = source_of(settings)
        path = source.files[0].path
        if tool is None:
            proposal = propose_for(source, event)
        else:
            text = preset_for(tool, source)
            proposal = Proposal(text, mapping_of_preset(tool), ())
    except (InputError, MixpanelSinkError) as error:
        common.fail(error)
    if as_json:
        said = {"file": path, "mapping": proposal.text, "guesses": proposal.guesses}
        print(json.dumps(said, indent=2))
        return
    try:
        with writing(str(output)):
            write_text(str(output), proposal.text)
    except OutputError as error:
        common.fail(error)
    print(proposal.text)
    looked = f"from up to {SAMPLE_ROWS:,} rows of {path}" if tool is None else f"for {path}"
    print(f"Written to {output}, {looked}.")
    if proposal.guesses:
        print("Please look at:")
        for guess in proposal.guesses:
            print(f"  - {guess}")
    if isinstance(proposal.mapping, EventMapping):
        common.next_step(common.following("check", settings, output))
    else:
        again = common.following("import", settings, output)
        common.next_step(f"{again} --endpoint-kind engage")
