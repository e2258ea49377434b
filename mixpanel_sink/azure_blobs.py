"""`az://CONTAINER/PATH`: Azure's Blob Storage as a file system of Beam's, by Azure's client.

Beam's own, `azfs://`, raises where a file is missing, so that nothing that looks for one works with
it, and moves files between addresses of Azure's public cloud only. Beam finds this one as soon
as the module is imported (`extras.require`); workers import it as one of the `--beam_plugins`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.filesystem import (
    BeamIOError,
    CompressedFile,
    CompressionTypes,
    FileMetadata,
    FileSystem,
)
from apache_beam.io.filesystemio import Downloader, DownloaderStream, Uploader, UploaderStream
from apache_beam.options.pipeline_options import AzureOptions, PipelineOptions
from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContentSettings, ExponentialRetry

from mixpanel_sink.errors import SettingError
from mixpanel_sink.process import BLOBS

SCHEME = "az"
_READ_BYTES = 4 << 20
_WRITE_BYTES = 128 << 10
_IN_MEMORY = 16 << 20
_COPY_SECONDS = 0.5
_ACCOUNT = re.compile("[a-z0-9]{3,24}")


def client_of(options: PipelineOptions | None) -> BlobServiceClient:
    """A client of the storage account that Beam's options or Azure's usual environment variables
    name.

    Raises:
        SettingError: if they name none, or Azure's client cannot read what they are.
    """
    given = (options or PipelineOptions([])).view_as(AzureOptions)
    text = given.azure_connection_string or os.getenv("AZURE_STORAGE_CONNECTION_STRING")
    account = os.getenv("AZURE_STORAGE_ACCOUNT")
    url = given.blob_service_endpoint or (
        f"https://{account}.blob.core.windows.net" if account else ""
    )
    secret = os.getenv("AZURE_STORAGE_KEY") or os.getenv("AZURE_STORAGE_SAS_TOKEN")
    identity = given.azure_managed_identity_client_id
    # An account's name that is not there is a connection that fails.
    retry = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=4, retry_connect=2)

    def make() -> BlobServiceClient:
        if text:
            return _checked(BlobServiceClient.from_connection_string(text, retry_policy=retry))
        if secret:
            return _checked(BlobServiceClient(url, secret, retry_policy=retry))
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential(managed_identity_client_id=identity)
        return _checked(BlobServiceClient(url, credential, retry_policy=retry))

    if not (text or url):
        raise SettingError(
            "az:// needs Azure's storage account. Set AZURE_STORAGE_CONNECTION_STRING, or "
            "AZURE_STORAGE_ACCOUNT and either AZURE_STORAGE_KEY or what `az login` leaves."
        )
    try:
        client: BlobServiceClient = BLOBS.get((text, url, secret, identity), make)
    except ValueError:  # which may hold the text
        name = "AZURE_STORAGE_CONNECTION_STRING" if text else "AZURE_STORAGE_ACCOUNT"
        raise SettingError(
            f"{name} is not what az:// needs. Copy it from the storage account's access keys in "
            "Azure's portal."
        ) from None
    return client


def _checked(client: BlobServiceClient) -> BlobServiceClient:
    """The same client. What cannot be right is refused here: Azure's client tries it for long.

    Raises:
        ValueError: if its account cannot exist, or its key is not Base64.
    """
    host = urllib.parse.urlsplit(client.url).hostname or ""
    account, _, service = host.partition(".")
    if service.startswith("blob.") and not _ACCOUNT.fullmatch(account):
        raise ValueError("not the name of an account")
    base64.b64decode(getattr(client.credential, "account_key", ""), validate=True)
    return client


class _AzureBlobs(FileSystem):
    """The file system. Names have slashes; there are no folders."""

    def __init__(self, pipeline_options: PipelineOptions) -> None:
        super().__init__(pipeline_options)
        self._options = pipeline_options

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return (path, "") if head == f"{SCHEME}:/" else (head, tail)

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        container, name = _parts(dir_or_prefix)
        client = self._client.get_container_client(container)
        for blob in client.list_blobs(name, include=["metadata"]):
            if _is_folder(blob):
                continue
            path = f"{SCHEME}://{container}/{blob.name}"
            yield FileMetadata(path, blob.size, blob.last_modified.timestamp())

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        stream = UploaderStream(_Upload(self._blob(path), mime_type))
        return self._packed(path, io.BufferedWriter(stream, _WRITE_BYTES), compression_type)

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        stream = DownloaderStream(_Download(self._blob(path)), _READ_BYTES)
        return self._packed(path, io.BufferedReader(stream, _READ_BYTES), compression_type)

    def copy(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        pairs = list(zip(source_file_names, destination_file_names, strict=True))
        self._for_each(pairs, lambda pair: self._copied(*pair))

    def rename(
        self, source_file_names: Sequence[str], destination_file_names: Sequence[str]
    ) -> None:
        def moved(pair: tuple[str, str]) -> None:
            self._copied(*pair)
            self._blob(pair[0]).delete_blob()

        self._for_each(list(zip(source_file_names, destination_file_names, strict=True)), moved)

    def exists(self, path: str) -> bool:
        try:
            return not _is_folder(self._blob(path).get_blob_properties())
        except ResourceNotFoundError:
            return False

    def size(self, path: str) -> int:
        return int(self.metadata(path).size_in_bytes)

    def last_updated(self, path: str) -> float:
        return float(self.metadata(path).last_updated_in_seconds)

    def checksum(self, path: str) -> str:
        return str(self._blob(path).get_blob_properties().etag)

    def metadata(self, path: str) -> FileMetadata:
        try:
            found = self._blob(path).get_blob_properties()
        except ResourceNotFoundError as error:
            raise BeamIOError("There is no such file", {path: error}) from error
        return FileMetadata(path, found.size, found.last_modified.timestamp())

    def delete(self, paths: Sequence[str]) -> None:
        def deleted(path: str) -> None:
            below = [each.path for each in self._list(path)] if path.endswith("/") else [path]
            for each in below:
                with contextlib.suppress(ResourceNotFoundError):  # deleted by an earlier try
                    self._blob(each).delete_blob()

        self._for_each(paths, deleted)

    def report_lineage(self, path: str, lineage: Any) -> None:
        account = self._client.account_name
        lineage.add("abs", account, *filter(None, _parts(path)), last_segment_sep="/")

    @property
    def _client(self) -> BlobServiceClient:
        return client_of(self._options)

    def _blob(self, path: str) -> Any:
        return self._client.get_blob_client(*_parts(path))

    def _packed(self, path: str, stream: Any, compression_type: str) -> Any:
        kind = FileSystem._get_compression_type(path, compression_type)
        if kind == CompressionTypes.UNCOMPRESSED:
            return stream
        return CompressedFile(stream, compression_type=kind)

    def _copied(self, source: str, target: str) -> None:
        blob = self._blob(target)
        status = blob.start_copy_from_url(self._blob(source).url)["copy_status"]
        while status == "pending":  # the source may be deleted after it
            time.sleep(_COPY_SECONDS)
            status = blob.get_blob_properties().copy.status
        if status != "success":
            raise OSError(f"{source} was not copied to {target} ({status})")

    def _for_each(self, each: Sequence[Any], do: Any) -> None:
        errors = {}
        for one in each:
            try:
                do(one)
            except Exception as error:  # Beam wants all of them together
                errors[one] = error
        if errors:
            raise BeamIOError("Not all of it was done", errors)


def _is_folder(blob: Any) -> bool:
    """Whether it is an empty blob that stands for a folder of a hierarchical namespace."""
    return (blob.metadata or {}).get("hdi_isfolder") == "true"


class _Download(Downloader):
    def __init__(self, blob: Any) -> None:
        self._blob = blob
        try:
            found = blob.get_blob_properties()
        except ResourceNotFoundError as error:
            raise FileNotFoundError(f"There is no {self._name}") from error
        self._size, self._etag = int(found.size), found.etag

    @property
    def _name(self) -> str:
        return str(self._blob.url.partition("?")[0])  # without a token

    @property
    def size(self) -> int:
        return self._size

    def get_range(self, start: int, end: int) -> bytes:
        unchanged = {"etag": self._etag, "match_condition": MatchConditions.IfNotModified}
        try:
            return bytes(self._blob.download_blob(start, end - start, **unchanged).readall())
        except ResourceModifiedError as error:
            raise OSError(f"{self._name} was changed while it was read") from error


class _Upload(Uploader):
    """Nothing is there until all of it is."""

    def __init__(self, blob: Any, mime_type: str) -> None:
        self._blob, self._settings = blob, ContentSettings(mime_type)
        self._held = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - `finish` closes it

    def put(self, data: memoryview) -> None:
        self._held.write(data)

    def finish(self) -> None:
        with self._held:
            self._held.seek(0)
            self._blob.upload_blob(self._held, overwrite=True, content_settings=self._settings)


def _parts(path: str) -> tuple[str, str]:
    """The container, and the blob's name in it."""
    container, _, name = path.removeprefix(f"{SCHEME}://").partition("/")
    if not container:
        raise ValueError(f"{path} names no container: az://CONTAINER/PATH")
    return container, name
