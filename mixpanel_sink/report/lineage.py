"""Lineage: which files and tables a pipeline read, and to which of Mixpanel's endpoints it wrote.

The metrics that Beam's own IOs report, for users of `Lineage.query` such as Dataplex.
"""

from __future__ import annotations

from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics.metric import Lineage


def read_file(path: str) -> None:
    """A file was opened: `gcs:bucket.folder/name`, `filesystem:localhost./folder/name`."""
    FileSystems.report_source_lineage(path)


def read_table(path: str) -> None:
    """A BigQuery table was: `bigquery:project.dataset.table`.

    Args:
        path: "projects/P/datasets/D/tables/T".
    """
    _, project, _, dataset, _, table = path.split("/")
    Lineage.sources().add("bigquery", *_wrapped(project, dataset, table))


def wrote(host: str, project: str, endpoint: str) -> None:
    """Requests went out: ``mixpanel:`api.mixpanel.com`.import``, or with the project's name between
    where a job writes to several.
    """
    places = [host, endpoint] if project == host else [host, project, endpoint]
    Lineage.sinks().add("mixpanel", *_wrapped(*places))


def _wrapped(*segments: str) -> list[str]:
    return [Lineage.wrap_segment(each) for each in segments]
