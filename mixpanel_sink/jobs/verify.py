"""Proves an import: reads back what Mixpanel holds, and compares it with the input.

    python -m pipelines.verify_import \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --report_dir verification

Give --input, --mapping and what changes events as for the import: ids from position hold for the
very paths that were sent. Exit codes: 0 if Mixpanel holds each event of the input once and as it
was sent; 1 if not, or if the export failed; 2 if a setting is wrong.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import argparse
import datetime
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.inspect.preview import MASKED_TOKEN
from mixpanel_sink.inspect.verify import Exporter, Verification, export_destination, render, verify
from mixpanel_sink.jobs.options import (
    add_credentials,
    add_destination,
    add_input,
    add_privacy,
    credentials_of,
    mapping_of,
    own_region,
    patterns_of,
    privacy_of,
    require,
)
from mixpanel_sink.jobs.run import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_SETTING
from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.read.files import match_files


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message[0].upper()}{message[1:]}; --help shows all options.")


def main(argv: Sequence[str] | None = None) -> int:
    """Verifies, prints the result, and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        own = _parser().parse_args(own_region(sys.argv[1:] if argv is None else argv))
        result = run(own)
    except (SettingError, InputError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    except DestinationError as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted. Nothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(render(result))
    if own.report_dir:
        print(f"Full lists: {own.report_dir}")
    return EXIT_OK if result.proven else EXIT_FAILED


def run(own: Any) -> Verification:
    """Verifies as the options say.

    Raises:
        SettingError, InputError: what is wrong, before anything is asked.
        DestinationError: if the export fails.
    """
    require(own, "input", "mapping")
    credentials = credentials_of(own)
    mapping = mapping_of(own.mapping)
    destination = export_destination(
        own.mixpanel_region or None, own.endpoint or None, own.allow_http
    )
    days = {name: _day(name, getattr(own, name)) for name in ("from", "to")}
    exporter = Exporter(destination, credentials)
    try:
        return verify(
            match_files(patterns_of(own)),
            mapping,
            exporter,
            first=days["from"],
            last=days["to"],
            zone=own.project_timezone,
            all_events=own.all_events,
            token=MASKED_TOKEN if credentials.token is not None else None,
            privacy=privacy_of(own),
            report_dir=own.report_dir or None,
        )
    finally:
        exporter.close()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m pipelines.verify_import",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_input(parser)
    add_credentials(parser)
    add_destination(parser)
    add_privacy(parser)
    parser.add_argument("--from", metavar="YYYY-MM-DD", help="First day. Default: the input's.")
    parser.add_argument("--to", metavar="YYYY-MM-DD", help="Last day. Default: the input's.")
    parser.add_argument(
        "--project_timezone",
        default="UTC",
        help="In which the project counts days. UTC (default) if it was made since 2023.",
    )
    parser.add_argument(
        "--all_events",
        action="store_true",
        help="Also read events of names that the input does not have; they are unexpected.",
    )
    parser.add_argument(
        "--report_dir", help="Folder, local or gs://, for the full lists of differences."
    )
    return parser


def _day(name: str, text: str | None) -> datetime.date | None:
    if not text:
        return None
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise SettingError(f"--{name} is {text!r}; give a day such as 2024-05-31.") from None


if __name__ == "__main__":
    leave(main())
