"""Places of emulators, for tests that need gs://, s3:// or az://."""

from __future__ import annotations

import contextlib
import gc
import http
import http.server
import json
import pathlib
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from moto.server import ThreadedMotoServer

from mixpanel_sink import extras


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Google's token endpoint, as far as its client library needs it."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def _with_preconditions(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Looks at ifGenerationMatch as Google's documentation has it, which the emulator does not do.

    It handles one request at a time, so nothing comes between the look and what is done.
    """
    from gcp_storage_emulator.exceptions import NotFound

    def handle(request: Any, response: Any, stored: Any, *given: Any, **named: Any) -> Any:
        wanted = request.query.get("ifGenerationMatch")
        if not wanted:
            return handler(request, response, stored, *given, **named)
        is_upload = "object_id" not in request.params
        if is_upload:
            name = request.query.get("name", [None])[0] or request.data["meta"]["name"]
        else:
            name = request.params["object_id"]
        try:
            found = stored.get_file_obj(request.params["bucket_name"], name)["generation"]
        except NotFound:  # what is not there has generation 0; nothing else can be done with it
            found = "0" if is_upload else wanted[0]
        if wanted[0] == found:
            return handler(request, response, stored, *given, **named)
        response.status = http.HTTPStatus.PRECONDITION_FAILED
        return response.json({"error": {"code": 412, "message": "conditionNotMet"}})

    return handle


@contextlib.contextmanager
def emulated_bucket(place: pathlib.Path, name: str = "events") -> Iterator[storage.Bucket]:
    """A bucket of the GCS emulator, and credentials (in `place`) that work without Google."""
    from gcp_storage_emulator import server as emulator

    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    credentials = place / "credentials.json"
    credentials.write_text(json.dumps(_service_account(tokens.server_port)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket=name)
    server.start()
    url = f"http://127.0.0.1:{port}"
    _wait_for(url)
    client = storage.Client("test", AnonymousCredentials(), client_options={"api_endpoint": url})
    checked = tuple(
        (path, {method: _with_preconditions(handler) for method, handler in handlers.items()})
        for path, handlers in emulator.HANDLERS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator, "HANDLERS", checked)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        yield client.bucket(name)
        # What failed to be written is tried again when it is collected: for minutes, once the
        # emulator is gone.
        gc.collect()
    server.stop()
    tokens.shutdown()


@contextlib.contextmanager
def moto_bucket(name: str) -> Iterator[Any]:
    """A bucket of moto's; credentials and address are where Amazon's library looks for them."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    region = "eu-central-1"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", region)
        extras._check_s3_credentials.cache_clear()
        yield boto3.resource("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": region}
        )
    server.stop()


NODE = pathlib.Path(__file__).parent / "clients" / "node" / "node_modules"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account of Azurite, and its key, which is the same everywhere and public."""


@contextlib.contextmanager
def emulated_container(name: str = "events") -> Iterator[ContainerClient]:
    """A container of Azurite's, and the environment to find its account."""
    program = NODE / "azurite" / "dist" / "src" / "blob" / "main.js"
    options = ["--blobPort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    with subprocess.Popen(
        ["node", program, *options, "--skipApiVersionCheck"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            ready = next(line for line in server.stdout if "listens on" in line)
            url = f"{ready.split()[-1]}/{ACCOUNT}"
            text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}"
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
                yield BlobServiceClient.from_connection_string(text).create_container(name)
        finally:
            server.terminate()
            server.wait()


def _service_account(token_port: int) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "project_id": "test",
        "private_key": pem.decode(),
        "client_email": "test@test.iam.gserviceaccount.com",
        "token_uri": f"http://127.0.0.1:{token_port}/token",
    }


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError as error:
            if getattr(error, "code", None):
                return
            time.sleep(0.05)
    raise TimeoutError(url)
