"""`mixpanel-sink verify`: what Mixpanel holds, compared with the files."""

from __future__ import annotations

from typing import Annotated

import typer

from mixpanel_sink.cli import common


def run(
    files: common.Files,
    mapping: common.Mapping_,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day.")
    ] = None,
    project_timezone: Annotated[
        str, typer.Option(help="In which the project counts days; UTC if made since 2023.")
    ] = "UTC",
    report_dir: Annotated[
        str | None, typer.Option(help="Folder for the full lists of differences.")
    ] = None,
    api_secret: common.ApiSecret = None,
    service_account: common.ServiceAccount = None,
    service_account_secret: common.ServiceAccountSecret = None,
    project_id: common.ProjectId = None,
    region: common.Region = None,
    endpoint: common.Endpoint = None,
) -> None:
    """Read back what Mixpanel holds and compare it with the files. Exit code 0 only if equal.

    Example: mixpanel-sink verify events.parquet -m events.yaml --region eu
    """
    from mixpanel_sink.jobs import verify as verify_import

    given = {
        "input": common.files_option(files),
        "mapping": mapping,
        "from": first,
        "to": last,
        "project_timezone": project_timezone,
        "report_dir": report_dir,
        **common.credentials(api_secret, service_account, service_account_secret, project_id, None),
        "mixpanel_region": region,
        "endpoint": endpoint,
    }
    common.finish(verify_import.main(common.arguments(given)))
