"""References to secrets, and the secrets behind them, read where they are needed.

What is pickled, logged and shown is where a secret lies, never the secret itself.
"""

from __future__ import annotations

import codecs
import os
from typing import Protocol

from mixpanel_sink import extras
from mixpanel_sink.errors import CredentialsError, kind_of

_FORMS = (
    "env:NAME (an environment variable of the workers), file:PATH, "
    "gcpsecret:projects/P/secrets/S/versions/V, or an apache_beam Secret object"
)


class BeamSecret(Protocol):
    """The part of `apache_beam.utils.secret.Secret` that is used here."""

    def get_secret_bytes(self) -> bytes:
        """The secret as bytes."""
        ...


SecretReference = str | BeamSecret


def check_reference(reference: SecretReference, what: str) -> None:
    """Refuses anything but a reference.

    Raises:
        CredentialsError: for a literal, without repeating it.
    """
    if isinstance(reference, str):
        scheme, _, rest = reference.strip().partition(":")
        if scheme in ("env", "file", "gcpsecret") and rest:
            return
        raise CredentialsError(
            f"{what} must be a reference, not the secret itself, which would be stored in the "
            f"job graph. Give {_FORMS}."
        )
    if not callable(getattr(reference, "get_secret_bytes", None)):
        raise CredentialsError(f"{what} is {kind_of(reference)}. Give {_FORMS}.")


def resolve(reference: SecretReference, what: str) -> str:
    """The secret behind a reference.

    Raises:
        CredentialsError: if there is none; names the place, not the secret.
    """
    check_reference(reference, what)
    if not isinstance(reference, str):
        place = f"{type(reference).__name__} object"
        try:
            secret = reference.get_secret_bytes().decode("utf-8")
        except Exception as error:  # a user's class; its words may hold the secret
            raise CredentialsError(
                f"{what}: the {place} did not give it ({type(error).__name__}). Check it where "
                "the workers run."
            ) from None
    else:
        scheme, _, place = reference.strip().partition(":")
        if scheme == "env":
            if place not in os.environ:
                raise CredentialsError(
                    f"{what}: the environment variable {place} is not set here. Set it where the "
                    "pipeline's workers run, or use file: or gcpsecret:."
                )
            secret = os.environ[place]
        elif scheme == "file":
            secret = _read_file(place, what)
        else:
            secret = _read_gcp_secret(place, what)
    secret = secret.strip("\ufeff \t\r\n")
    if secret[:1] in ("'", '"') and secret[-1:] == secret[:1]:
        raise CredentialsError(
            f"{what}: {place} is in quotation marks, which would count as a part of it. Remove "
            "them: docker's --env-file, for one, takes them literally."
        )
    if not secret:
        raise CredentialsError(f"{what}: {place} is empty. Put the secret there.")
    if not secret.isprintable() or not secret.isascii():
        raise CredentialsError(
            f"{what}: {place} holds characters that no Mixpanel secret has. "
            "Check that it holds the secret alone."
        )
    return secret


def decoded(data: bytes) -> str:
    """The text of a small file, in UTF-8, or as Windows writes it: with a byte order mark."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return bytes(data).decode("utf-16" if is_utf16 else "utf-8-sig")


def _read_file(path: str, what: str) -> str:
    from apache_beam.io.filesystems import FileSystems

    try:
        if "://" in path:
            extras.require(path)
            with FileSystems.open(path) as file:
                return decoded(file.read(65536))
        with open(os.path.expanduser(path), "rb") as local:
            return decoded(local.read(65536))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CredentialsError(
            f"{what}: the file {path} cannot be read ({reason}). "
            "Check the path and its permissions where the workers run."
        ) from None


def _read_gcp_secret(version: str, what: str) -> str:
    extras.require("gcpsecret:")
    from apache_beam.utils.secret import GcpSecret

    if version.startswith("projects/") and "/versions/" not in version:
        version += "/versions/latest"
    try:
        return GcpSecret(version).get_secret_bytes().decode("utf-8")
    except Exception as error:  # google-api-core, auth and grpc errors share no base
        raise CredentialsError(
            f"{what}: Google Secret Manager did not give {version} ({type(error).__name__}). "
            "Check the name and the workers' permission secretmanager.versions.access."
        ) from None
