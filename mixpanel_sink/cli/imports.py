"""`mixpanel-sink import`: the Parquet pipeline on this machine, or on any runner."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import tempfile
from typing import Annotated

import typer

from mixpanel_sink.cli import common

CONTEXT = common.PASS_ON


def run(
    context: typer.Context,
    files: common.Files,
    mapping: common.Mapping_,
    api_secret: common.ApiSecret = None,
    service_account: common.ServiceAccount = None,
    service_account_secret: common.ServiceAccountSecret = None,
    project_id: common.ProjectId = None,
    project_token: common.ProjectToken = None,
    region: common.Region = None,
    endpoint: common.Endpoint = None,
    quota: common.Quota = None,
    failed_output: common.FailedOutput = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Folder that remembers what was accepted; see docs/resume.md."),
    ] = None,
    preflight: Annotated[
        bool, typer.Option(help="Try the credentials with one empty request first.")
    ] = False,
    report: Annotated[
        str | None, typer.Option(help="Write the run's report to run.html and run.json.")
    ] = None,
    progress: Annotated[str, typer.Option(help="auto, bar, lines or none.")] = "auto",
    as_json: common.AsJson = False,
) -> None:
    """Send Parquet files to Mixpanel.

    Any option of Beam's may follow, such as --runner=PrismRunner.

    Example: mixpanel-sink import events.parquet -m events.yaml --region eu --failed-output failed
    """
    from mixpanel_sink.jobs import import_parquet as parquet_to_mixpanel

    files, extra = common.split([*files, *context.args])
    given = {
        "input": common.files_option(files),
        "mapping": mapping,
        **common.credentials(
            api_secret, service_account, service_account_secret, project_id, project_token
        ),
        "mixpanel_region": region,
        "endpoint": endpoint,
        "quota": quota,
        "failed_output": failed_output,
        "checkpoint": checkpoint,
        "preflight": preflight,
        "report": report,
        "progress": progress,
    }
    if not as_json:
        common.finish(parquet_to_mixpanel.main([*common.arguments(given), *extra]))
        return
    with tempfile.TemporaryDirectory() as folder:
        given["report"] = report or f"{folder}/run.html"
        # People's words go to stderr: a machine reads stdout.
        with contextlib.redirect_stdout(sys.stderr):
            code = parquet_to_mixpanel.main([*common.arguments(given), *extra])
        path = pathlib.Path(str(given["report"]).removesuffix(".html") + ".json")
        if "://" not in str(path) and path.exists():
            print(path.read_text(encoding="utf-8"))
    common.finish(code)
