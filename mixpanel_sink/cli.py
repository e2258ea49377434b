"""The ``mixpanel-sink`` command."""

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run ``mixpanel-sink`` and return its exit code: 0, or 2 for a mistake in the call."""
    try:
        import typer

        from mixpanel_sink.emulator import command
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "typer":
            raise
        needs = "pip install 'mixpanel-sink[emulator]'"
        print(f"mixpanel-sink needs packages that are missing: {needs}", file=sys.stderr)
        return 2
    app = typer.Typer(
        name="mixpanel-sink", help="Tools around the Mixpanel sink.", no_args_is_help=True
    )

    # A callback keeps `emulator` a subcommand while it is the only one.
    @app.callback()
    def root() -> None: ...

    app.command()(command.emulator)
    return command.run(app, args, "mixpanel-sink")


if __name__ == "__main__":
    sys.exit(main())
