"""What Beam's file system for `s3://` lacks, from the import of this module on.

`extras.require` imports it; workers do as one of the `--beam_plugins`.

- Beam makes a client of Amazon's library for each file that it opens, lists, measures or removes,
  which takes 0.2 s of CPU and a new connection. Here a process has one.
- An upload without parts is refused by S3, and so is an empty file as Beam uploads it.
"""

from __future__ import annotations

import os
import time
import types
from typing import Any

import boto3  # type: ignore[import-untyped]
from apache_beam.io.aws import s3io
from apache_beam.io.aws.clients.s3 import boto3_client

from mixpanel_sink.process import S3_CLIENTS

_SECONDS = 600
"""How long a client is used: it reads a file with credentials once, and that may change."""


class _Session:
    """What Beam uses of `boto3.session.Session`."""

    def client(self, **options: Any) -> Any:
        """boto3's client, which is safe between threads, of these options and the environment."""
        named = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        kept = S3_CLIENTS.get(repr(sorted({**named, **options}.items())), dict)
        period = time.monotonic() // _SECONDS
        if (client := kept.get(period)) is None:
            client = boto3.session.Session().client(**options)
            kept.clear()  # a client takes megabytes, and a stream goes on for months
            kept[period] = client
        return client


class _Uploader(s3io.S3Uploader):
    def finish(self) -> None:
        if not (self.parts or self.buffer or self.last_error):
            self._write_to_s3(b"")
        super().finish()


boto3_client.boto3 = types.SimpleNamespace(session=types.SimpleNamespace(Session=_Session))
s3io.S3Uploader = _Uploader
