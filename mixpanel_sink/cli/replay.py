"""`mixpanel-sink replay`: failed records once more, after a fix."""

from __future__ import annotations

from typing import Annotated

import typer

from mixpanel_sink.cli import common

CONTEXT = common.PASS_ON


def run(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Files of failed records, or globs.")],
    mapping: Annotated[
        str | None, typer.Option("--mapping", "-m", help="For records that were no event yet.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Reasons to send again, with commas between.")
    ] = None,
    api_secret: common.ApiSecret = None,
    service_account: common.ServiceAccount = None,
    service_account_secret: common.ServiceAccountSecret = None,
    project_id: common.ProjectId = None,
    project_token: common.ProjectToken = None,
    region: common.Region = None,
    endpoint: common.Endpoint = None,
    quota: common.Quota = None,
    failed_output: common.FailedOutput = None,
) -> None:
    """Send failed records again, with the ids that they had: nothing doubles.

    Example: mixpanel-sink replay 'failed*.jsonl' -m events.yaml --failed-output failed-again
    """
    from mixpanel_sink.jobs import replay as replay_failed

    files, extra = common.split([*files, *context.args])
    given = {
        "input": common.files_option(files),
        "mapping": mapping,
        "only": only,
        **common.credentials(
            api_secret, service_account, service_account_secret, project_id, project_token
        ),
        "mixpanel_region": region,
        "endpoint": endpoint,
        "quota": quota,
        "failed_output": failed_output,
    }
    common.finish(replay_failed.main([*common.arguments(given), *extra]))
