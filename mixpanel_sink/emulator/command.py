"""The command line of the emulator: options to settings, mistakes to one sentence."""

import logging
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

EXTRA = "The emulator needs packages that are missing: pip install 'mixpanel-sink[emulator]'"
_PACKAGES = ("starlette", "uvicorn", "httptools", "orjson", "typer")


def run(app: typer.Typer, args: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run a command line app and return its exit code; mistakes are one sentence on stderr."""
    try:
        result = app(
            list(args) if args is not None else None, prog_name=name, standalone_mode=False
        )
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        print(f"mixpanel-sink: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    return result if isinstance(result, int) else 0


def missing_package(error: ImportError) -> bool:
    """Whether the import failed for a package that the extra ``emulator`` brings."""
    return (error.name or "").partition(".")[0] in _PACKAGES


def emulator(
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    api_secret: Annotated[
        str | None, typer.Option(envvar="MIXPANEL_API_SECRET", help="API secret for /import.")
    ] = None,
    project_token: Annotated[
        str | None,
        typer.Option(envvar="MIXPANEL_PROJECT_TOKEN", help="Project token; none: any is taken."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(envvar="MIXPANEL_SERVICE_ACCOUNT", help="Service account as USER:SECRET."),
    ] = None,
    project_id: Annotated[
        int | None, typer.Option(envvar="MIXPANEL_PROJECT_ID", help="Project id.")
    ] = None,
    requests_per_hour: Annotated[
        int | None, typer.Option(help="/import requests in any hour; 60 unless told.")
    ] = None,
    quota: Annotated[
        str | None, typer.Option(help="The same as 600/minute, 10/second, 5/30s or none.")
    ] = None,
    variant: Annotated[
        str, typer.Option(help="Answer as the product page or the API reference says.")
    ] = "page",
    dedupe: Annotated[
        str | None, typer.Option(help="Rule for duplicates: page or reference; the variant's.")
    ] = None,
    dedupe_window: Annotated[
        float, typer.Option(help="Seconds for which the page's rule knows an id.")
    ] = 86400.0,
    failed_records_as: Annotated[
        str, typer.Option(help="failed_records as objects or as strings.")
    ] = "objects",
    max_batch: Annotated[int, typer.Option(help="Records a request.")] = 2000,
    max_body_bytes: Annotated[int, typer.Option(help="Bytes a request, uncompressed.")] = 10
    * 1024
    * 1024,
    max_event_bytes: Annotated[
        int | None, typer.Option(help="Bytes an event; 2 MiB (page) or 1 MiB (reference).")
    ] = None,
    latency_ms: Annotated[float, typer.Option(help="Wait before each answer.")] = 0.0,
    region: Annotated[
        str | None, typer.Option(help="us, eu or in; projects of others are unknown here.")
    ] = None,
    projects: Annotated[
        Path | None, typer.Option(help="JSON or YAML file of several projects and their keys.")
    ] = None,
    identity_mode: Annotated[
        str, typer.Option(help="simplified, original or legacy: what identity events do.")
    ] = "simplified",
    refuse_identity: Annotated[
        bool, typer.Option(help="Refuse identity events that the mode ignores.")
    ] = False,
    strict_count: Annotated[
        str, typer.Option(help="The count's name in strict answers of /engage and /groups.")
    ] = "num_good_events",
    export_quotas: Annotated[
        str, typer.Option(help="Limits of the raw export, or none.")
    ] = "60/hour, 3/second",
    export_shape: Annotated[
        str, typer.Option(help="Export events as mixpanel does, or as they were sent.")
    ] = "mixpanel",
    keep_duplicates: Annotated[
        bool, typer.Option(help="Keep duplicates for the raw export.")
    ] = True,
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve https with a certificate made at the start.")
    ] = False,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Write that certificate here, for clients to trust.")
    ] = None,
    db: Annotated[
        Path | None, typer.Option(help="Keep events in this SQLite file; else they are temporary.")
    ] = None,
    fault_plan: Annotated[Path | None, typer.Option(help="JSON file of faults to inject.")] = None,
    fault_seed: Annotated[int | None, typer.Option(help="Seed of random faults.")] = None,
    fault_rate: Annotated[
        float | None, typer.Option(help="Share of requests that meet a random fault.")
    ] = None,
    fault_kinds: Annotated[
        str, typer.Option(help="Random faults: random (a retry gets over), fatal or all.")
    ] = "random",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    until_stdin_ends: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run a stand-in for Mixpanel's ingestion API.

    Example: mixpanel-sink emulator --port 8080 --api-secret SECRET --requests-per-hour 60
    """
    try:
        from mixpanel_sink.emulator import certificate, server
        from mixpanel_sink.emulator import projects as projects_file
        from mixpanel_sink.emulator import quota as quotas
        from mixpanel_sink.emulator import settings as values
    except ImportError as error:
        if missing_package(error):
            _fail(EXTRA)
        raise
    if log_level.lower() not in ("debug", "info", "warning", "error"):
        _fail(f"--log-level must be debug, info, warning or error, not {log_level!r}")
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if requests_per_hour is not None and quota is not None:
        _fail("give --quota or --requests-per-hour, not both")
    if projects and (api_secret or project_token or service_account):
        _fail("give --projects or the keys of one project, not both")
    if not (api_secret or project_token or service_account or projects):
        _fail(
            "no credentials: give --api-secret, --project-token or --service-account, or set "
            "MIXPANEL_API_SECRET"
        )
    try:
        if requests_per_hour is not None and requests_per_hour < 1:
            _fail(f"--requests-per-hour must be at least 1, not {requests_per_hour}")
        limit = quotas.Quota.parse(quota or f"{requests_per_hour or 60}/hour")
        number = project_id if project_id is not None else 1
        accounts: tuple[values.ServiceAccount, ...] = ()
        if service_account:
            user, separator, secret = service_account.partition(":")
            if not (user and separator and secret):
                _fail("--service-account must have the form USER:SECRET")
            if project_id is None:
                _fail("--service-account needs --project-id beside it")
            accounts = (values.ServiceAccount(user, secret, frozenset((number,))),)
        given: dict[str, Any] = {
            "variant": variant,
            "dedupe": dedupe,
            "failed_records_as": failed_records_as,
            "region": region,
            "strict_count": strict_count,
            "export_shape": export_shape,
        }
        mode: Any = identity_mode
        several: tuple[values.Project, ...]
        several = (values.Project(number, project_token, api_secret, limit, mode),)
        if projects:
            several, accounts = projects_file.read(projects, limit)
        settings = values.Settings(
            projects=several,
            service_accounts=accounts,
            dedupe_window=dedupe_window,
            max_batch=max_batch,
            max_body_bytes=max_body_bytes,
            max_event_bytes=max_event_bytes,
            latency_ms=latency_ms,
            refuse_identity=refuse_identity,
            keep_duplicates=keep_duplicates,
            export_quotas=values.quotas(export_quotas),
            **given,
        )
        plan = _plan(fault_plan, fault_seed, fault_rate, fault_kinds)
        if tls_certificate and not tls:
            _fail("--tls-certificate needs --tls beside it")
    except ValueError as error:
        _fail(str(error))
    try:
        context = certificate.make_context(host, tls_certificate) if tls else None
    except ImportError:
        _fail(EXTRA)
    except OSError as error:
        _fail(f"cannot write the certificate {tls_certificate}: {error.strerror}")
    try:
        server.serve(
            settings,
            host=host,
            port=port,
            db=db,
            faults=plan,
            until_stdin_ends=until_stdin_ends,
            tls=context,
        )
    except (OSError, OverflowError) as error:
        _fail(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}")
    except sqlite3.Error as error:
        _fail(f"cannot open the database {db}: {error}")


def _plan(path: Path | None, seed: int | None, rate: float | None, kinds: str) -> Any:
    import orjson

    from mixpanel_sink.emulator.faults import FaultPlan, preset

    if path is None:
        if seed is not None and rate is None:
            raise ValueError("--fault-seed needs --fault-rate beside it")
        return FaultPlan(seed=seed, rate=rate or 0.0, kinds=preset(kinds))
    if seed is not None or rate is not None:
        raise ValueError("give --fault-plan or --fault-seed and --fault-rate, not both")
    try:
        return FaultPlan.parse(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"cannot read the fault plan {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the fault plan {path} is not valid JSON: {error}") from None


def _fail(message: str) -> NoReturn:
    print(f"mixpanel-sink emulator: {message}", file=sys.stderr)
    raise typer.Exit(2)
