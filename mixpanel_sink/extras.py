"""What the base install leaves out, and the sentence for whoever needs it.

Beam reads and writes cloud storage with libraries that a local import has no use for. Without them
it says nothing useful: Google's file system even goes on without credentials and waits for minutes.
"""

from __future__ import annotations

import importlib.util

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
        SettingError: the command that installs what is missing.
    """
    scheme, sign, _ = path.partition(":")
    extra, module = _NEEDS.get(scheme, ("", ""))
    if sign and extra and not _is_installed(module):
        raise SettingError(
            f"{path} needs packages that are not installed: pip install 'mixpanel-sink[{extra}]'."
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False
