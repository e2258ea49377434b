"""The command line of the emulator: options to settings, mistakes to one sentence."""

import inspect
import logging
import sqlite3
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from mixpanel_sink.emulator.options import OPTIONS, Option

EXTRA = "The emulator needs packages that are missing: pip install 'mixpanel-sink[emulator]'"
_PACKAGES = ("starlette", "uvicorn", "httptools", "msgspec", "orjson", "typer")
_LEVELS = ("debug", "info", "warning", "error")


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


def emulator(**given: Any) -> None:
    """Run a local Mixpanel emulator.

    Example: mixpanel-sink emulator --port 8080 --api-secret SECRET --requests-per-hour 60
    """
    try:
        from mixpanel_sink.emulator import build, server
    except ImportError as error:
        if missing_package(error):
            _fail(EXTRA)
        raise
    level, db = given["log_level"].lower(), given["db"]
    host, port = given["host"], given["port"]
    if level not in _LEVELS:
        _fail(f"--log-level must be debug, info, warning or error, not {given['log_level']!r}")
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        launch = build.launch(given)
    except ValueError as error:
        _fail(str(error))
    context = _tls_context(given)
    try:
        server.serve(
            launch.settings,
            host=host,
            port=port,
            db=db,
            faults=launch.faults,
            until_stdin_ends=given["until_stdin_ends"],
            tls=context,
        )
    except (OSError, OverflowError) as error:
        _fail(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}")
    except sqlite3.Error as error:
        _fail(f"cannot open the database {db}: {error}")


def _tls_context(given: dict[str, Any]) -> Any:
    if not given["tls"]:
        return None
    from mixpanel_sink.emulator import certificate

    path = given["tls_certificate"]
    try:
        return certificate.make_context(given["host"], path)
    except ImportError:
        _fail(EXTRA)
    except OSError as error:
        _fail(f"cannot write the certificate {path}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    print(f"mixpanel-sink emulator: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _parameter(option: Option) -> inspect.Parameter:
    kind: Any = option.type if option.default is not None else option.type | None
    names = option.flag
    if option.type is bool:
        names += f"/--no-{option.flag[2:]}"
    told = typer.Option(names, envvar=option.variable, help=option.help, hidden=option.hidden)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=Annotated[kind, told],
    )


# Typer makes the command's options from the signature, and the signature is made from the table.
_PARAMETERS = [_parameter(option) for option in OPTIONS]
emulator.__signature__ = inspect.Signature(_PARAMETERS, return_annotation=None)  # type: ignore[attr-defined]
emulator.__annotations__ = {p.name: p.annotation for p in _PARAMETERS}
