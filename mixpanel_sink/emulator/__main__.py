"""``python -m mixpanel_sink.emulator``: the same as ``mixpanel-sink emulator``."""

import sys


def main() -> int:
    """Run the emulator; return the exit code."""
    try:
        import typer

        from mixpanel_sink.emulator import command
    except ImportError:
        needs = "pip install 'mixpanel-sink[emulator]'"
        print(f"The emulator needs packages that are missing: {needs}", file=sys.stderr)
        return 2
    app = typer.Typer(add_completion=False)
    app.command()(command.emulator)
    return command.run(app, name="python -m mixpanel_sink.emulator")


if __name__ == "__main__":
    sys.exit(main())
