"""What the base install leaves out, and the error that tells how to install it.

Beam reads and writes cloud storage with libraries that a local import has no use for. Without them
it says nothing useful: Google's file system even goes on without credentials and waits for minutes.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from typing import Any

from mixpanel_sink.errors import SettingError

_NEEDS = {
    "gs": ("gcp", "apitools"),
    "bq": ("gcp", "google.cloud.bigquery_storage_v1"),
    "gcpsecret": ("gcp", "google.cloud.secretmanager"),
    "s3": ("aws", "boto3"),
    "az": ("azure", "azure.storage.blob"),
    "delta": ("delta", "deltalake"),
    "iceberg": ("iceberg", "pyiceberg"),
}
"""By scheme: the extra that brings it, and a module that only comes with it."""


def require(path: str) -> None:
    """Makes sure that what this path's file system needs is installed.

    Args:
        path: of a file, a folder, a table or a secret; local paths need nothing.

    Raises:
        SettingError: the command that installs what is missing; or there are no credentials, or
            the scheme has another name.
    """
    scheme, sign, _ = path.partition(":")
    if path.startswith("azfs://"):  # Beam's own: it knows no globs, and raises for missing files
        container = path.removeprefix("azfs://").partition("/")[2]
        raise SettingError(f"{path}: write az://{container or 'CONTAINER/PATH'}.")
    extra, module = _NEEDS.get(scheme, ("", ""))
    if sign and extra and not _is_installed(module):
        raise SettingError(
            f"{path} needs packages that are not installed: pip install 'mixpanel-sink[{extra}]'."
        )
    if path.startswith(("s3://", "az://")):
        _set_options()
    if path.startswith("s3://"):
        _check_s3_credentials()
        importlib.import_module("mixpanel_sink.s3_clients")
    if path.startswith("az://"):
        _check_azure_account()


def plugins() -> list[str]:
    """Modules for file systems that this process has used, for Beam's workers to import
    (`--beam_plugins`)."""
    ours = ("mixpanel_sink.azure_blobs", "mixpanel_sink.s3_clients")
    return [name for name in ours if name in sys.modules]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def _set_options() -> None:
    """Amazon's and Azure's file systems need some, and commands without a pipeline set none."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))


@functools.cache
def _check_s3_credentials() -> None:
    """Beam would try without for many minutes."""
    import boto3  # type: ignore[import-untyped]
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import S3Options

    options: Any = FileSystems._pipeline_options
    if options.view_as(S3Options).s3_access_key_id is not None:
        return
    if boto3.Session().get_credentials() is None:
        raise SettingError(
            "s3:// needs Amazon's credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or give --s3_access_key_id=... and --s3_secret_access_key=..."
        )


def _check_azure_account() -> None:
    """The import makes the file system known to Beam."""
    from apache_beam.io.filesystems import FileSystems

    from mixpanel_sink.azure_blobs import client_of

    client_of(FileSystems._pipeline_options)
