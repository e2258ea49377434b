"""Sends CSV files with a header to Mixpanel.

    python -m pipelines.csv_to_mixpanel \\
        --input 'gs://bucket/orders/*.csv' \\
        --types created_at=integer,amount=number \\
        --mapping configs/orders_csv.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run1

Cells are text unless --types says otherwise; empty ones are null. A row that does not fit the
header or its types is a failed record.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
record read was accepted, or failed and was counted (and kept, with --failed_output); 1 if the job
failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mixpanel_sink.jobs.import_records import run_source
from mixpanel_sink.jobs.startup import leave

# isort: split
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.read.csv import CsvRows, parse_delimiter, parse_types


class CsvOptions(PipelineOptions):
    """The pipeline's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("CSV")
        group.add_argument(
            "--types",
            default="",
            help="Columns that are not text, as NAME=integer, number or boolean; with commas "
            "between.",
        )
        group.add_argument("--delimiter", default=",", help="Between cells; tab for a tab.")


def reader_of(options: PipelineOptions) -> CsvRows:
    """The reader that the options describe.

    Raises:
        SettingError: what is wrong.
    """
    own = options.view_as(CsvOptions)
    return CsvRows(parse_types(own.types), parse_delimiter(own.delimiter))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    return run_source(argv, "pipelines.csv_to_mixpanel", __doc__, reader_of, CsvOptions)


if __name__ == "__main__":
    leave(main())
