"""Folders in cloud storage, by the clients that Beam's file systems use.

That a file is still as it was read, the store itself makes sure of: Google's by the generation of
an object, Amazon's and Azure's by its ETag. Other file systems have nothing of the kind: there it
is looked at just before it is written.
"""

from __future__ import annotations

import abc
import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

from blake3 import blake3

from mixpanel_sink.checkpoint.stored import ABSENT, ANY, Changed, Folder, Stored


def open_folder(path: str) -> Folder:
    """The folder at a URL; it need not be there yet."""
    kinds: dict[str, type[_Cloud]] = {"gs": _Google, "s3": _Amazon, "az": _Azure}
    return kinds.get(path.partition("://")[0], _Other)(path)


class _Cloud(Folder):
    """Objects below a prefix."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        self._container, _, prefix = self.path.partition("://")[2].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        try:
            return self._put(name, data, expected)
        except Changed:
            found = self.stored(name)
            if found is not None and found.data == data:  # a retry of a write whose answer was lost
                return found.version
            raise

    @abc.abstractmethod
    def _put(self, name: str, data: bytes, expected: Any) -> Any:
        """Like `write`, of which a lost answer is not looked for."""

    def remove(self, name: str, expected: Any = ANY) -> None:
        if expected is not ABSENT:
            self._remove(name, expected)

    @abc.abstractmethod
    def _remove(self, name: str, expected: Any) -> None:
        """Like `remove`, of a version that there may be."""

    def names(self, prefix: str) -> list[str]:
        return sorted(each.removeprefix(self._prefix) for each in self._list(self._prefix + prefix))

    @abc.abstractmethod
    def _list(self, prefix: str) -> Iterable[str]:
        """The whole names of all objects that begin so."""


class _Google(_Cloud):
    """In Google Cloud Storage. A version is an object's generation."""

    @functools.cached_property
    def _bucket(self) -> Any:
        return _file_system(self.path)._gcsIO().client.bucket(self._container)

    @property
    def url(self) -> str:  # type: ignore[override]
        return str(self._bucket.client._connection.API_BASE_URL)

    def stored(self, name: str) -> Stored | None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            blob = self._bucket.get_blob(self._prefix + name)
            if blob is None:
                return None
            version = blob.generation
            with contextlib.suppress(NotFound, PreconditionFailed):  # replaced meanwhile
                data = blob.download_as_bytes(raw_download=True, if_generation_match=version)
                return Stored(data, version)

    def _put(self, name: str, data: bytes, expected: Any) -> Any:
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._prefix + name)
        # Generation 0 is "there is none".
        match = None if expected is ANY else int(expected or 0)
        try:
            blob.upload_from_string(
                data, "application/octet-stream", if_generation_match=match, checksum=None
            )
        except PreconditionFailed:
            raise Changed(name) from None
        return blob.generation

    def _remove(self, name: str, expected: Any) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        match = None if expected is ANY else int(expected)
        with contextlib.suppress(NotFound, PreconditionFailed):
            self._bucket.blob(self._prefix + name).delete(if_generation_match=match)

    def _list(self, prefix: str) -> Iterable[str]:
        return (each.name for each in self._bucket.client.list_blobs(self._bucket, prefix=prefix))


_AMAZON_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "412"}
"""What S3 says of an object that is of another version, is gone, or is being written."""
_AMAZON_UNKNOWN = {"NotImplemented", "501"}
"""What a store says that has S3's API, but no conditions."""


class _Amazon(_Cloud):
    """In Amazon S3, or in a store with its API. A version is an object's ETag."""

    @property
    def _client(self) -> Any:
        from apache_beam.io.aws.clients.s3.boto3_client import Client

        return Client(_file_system(self.path)._options).client

    @property
    def url(self) -> str:  # type: ignore[override]
        return str(self._client.meta.endpoint_url)

    def _of(self, name: str) -> dict[str, str]:
        return {"Bucket": self._container, "Key": self._prefix + name}

    def stored(self, name: str) -> Stored | None:
        client = self._client
        try:
            found = client.get_object(**self._of(name))
        except client.exceptions.NoSuchKey:
            return None
        with found["Body"] as body:
            return Stored(body.read(), found["ETag"])

    def _put(self, name: str, data: bytes, expected: Any) -> Any:
        condition = {"IfNoneMatch": "*"} if expected is ABSENT else {"IfMatch": expected}
        put = functools.partial(self._client.put_object, **self._of(name), Body=data)
        return self._if_same(put, name, expected, condition)["ETag"]

    def _remove(self, name: str, expected: Any) -> None:
        delete = functools.partial(self._client.delete_object, **self._of(name))
        with contextlib.suppress(Changed):
            self._if_same(delete, name, expected, {"IfMatch": expected})

    def _if_same(
        self, request: Callable[..., Any], name: str, expected: Any, condition: dict[str, Any]
    ) -> Any:
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        if expected is ANY:
            return request()
        try:
            return request(**condition)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _AMAZON_CHANGED:
                raise Changed(name) from None
            if code not in _AMAZON_UNKNOWN:
                raise
        self._check(name, expected)
        return request()

    def _list(self, prefix: str) -> Iterable[str]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._container, Prefix=prefix):
            yield from (each["Key"] for each in page.get("Contents", ()))


class _Azure(_Cloud):
    """In Azure's Blob Storage. A version is a blob's ETag."""

    @property
    def _client(self) -> Any:
        from mixpanel_sink.azure_blobs import client_of

        service = client_of(_file_system(self.path)._options)
        return service.get_container_client(self._container)

    @property
    def url(self) -> str:  # type: ignore[override]
        return str(self._client.url)

    def _blob(self, name: str) -> Any:
        return self._client.get_blob_client(self._prefix + name)

    def stored(self, name: str) -> Stored | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = self._blob(name).download_blob()
        except ResourceNotFoundError:
            return None
        return Stored(found.readall(), found.properties.etag)

    def _put(self, name: str, data: bytes, expected: Any) -> Any:
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        condition = {} if expected is ABSENT else {"overwrite": True, **_if_match(expected)}
        try:
            return self._blob(name).upload_blob(data, **condition)["etag"]
        except (ResourceExistsError, ResourceModifiedError):
            raise Changed(name) from None

    def _remove(self, name: str, expected: Any) -> None:
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        with contextlib.suppress(ResourceModifiedError, ResourceNotFoundError):
            self._blob(name).delete_blob(**_if_match(expected))

    def _list(self, prefix: str) -> Iterable[str]:
        names: Iterable[str] = self._client.list_blob_names(name_starts_with=prefix)
        return names


def _if_match(expected: Any) -> dict[str, Any]:
    from azure.core import MatchConditions

    if expected is ANY:
        return {}
    return {"etag": expected, "match_condition": MatchConditions.IfNotModified}


class _Other(Folder):
    """Any other file system that Beam knows."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    def stored(self, name: str) -> Stored | None:
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        place = f"{self.path}/{name}"
        if not FileSystems.match([place])[0].metadata_list:
            return None
        with FileSystems.open(place, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            data = bytes(file.read())
        return Stored(data, blake3(data).digest())

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        self._check(name, expected)
        place = f"{self.path}/{name}"
        with FileSystems.create(place, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)
        return blake3(data).digest()

    def remove(self, name: str, expected: Any = ANY) -> None:
        from apache_beam.io.filesystems import FileSystems

        with contextlib.suppress(Changed):
            self._check(name, expected)
            if self.stored(name) is not None:
                FileSystems.delete([f"{self.path}/{name}"])

    def names(self, prefix: str) -> list[str]:
        from apache_beam.io.filesystems import FileSystems

        found = FileSystems.match([f"{self.path}/{prefix}*"])[0].metadata_list
        return sorted(each.path.rpartition("/")[2] for each in found)


def _file_system(path: str) -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems.get_filesystem(path)
