"""The `mixpanel-sink` command.

    init      proposes a mapping for a file
    check     shows what an import would send, and sends nothing
    import    sends files to Mixpanel
    replay    sends failed records again, after a fix
    verify    reads back what Mixpanel holds and compares it with the files
    emulator  runs a local Mixpanel emulator
    demo      shows all of that on made-up data
    doctor    looks at this machine: versions, credentials, network

Each is a file here. Exit codes: 0 all is well; 1 the job failed, or what was compared is not
equal; 2 a setting is wrong, and nothing was sent; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from mixpanel_sink.cli import check, demo, doctor, imports, init, replay, verify
from mixpanel_sink.emulator import command
from mixpanel_sink.version import __version__

_HELP = """Brings event data to Mixpanel: each event once, within the quota, all accounted for.

Begin with: mixpanel-sink init events.parquet"""


def make_app() -> typer.Typer:
    """The command with all of its subcommands."""
    app = typer.Typer(
        name="mixpanel-sink", help=_HELP, no_args_is_help=True, rich_markup_mode="markdown"
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Show the version.", callback=_show_version, is_eager=True
        ),
    ) -> None: ...

    for name, module in (
        ("init", init),
        ("check", check),
        ("import", imports),
        ("replay", replay),
        ("verify", verify),
    ):
        app.command(name, context_settings=getattr(module, "CONTEXT", None))(module.run)
    app.command("emulator")(command.emulator)
    app.command("demo")(demo.run)
    app.command("doctor")(doctor.run)
    return app


def main(args: Sequence[str] | None = None) -> int:
    """Runs `mixpanel-sink` and gives its exit code."""
    return command.run(make_app(), args, "mixpanel-sink")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"mixpanel-sink {__version__}")
        raise typer.Exit()


if __name__ == "__main__":
    sys.exit(main())
