"""Who we are to Mixpanel, as references that workers resolve.

A secret is never part of the pipeline: what is pickled, logged and shown is where it
lies (`env:NAME`, `file:PATH`, `gcpsecret:VERSION`, or a Beam `Secret` object).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Protocol

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.errors import CredentialsError

_FORMS = (
    "env:NAME (an environment variable of the workers), file:PATH, "
    "gcpsecret:projects/P/secrets/S/versions/V, or an apache_beam Secret object"
)


class BeamSecret(Protocol):
    """The part of `apache_beam.utils.secret.Secret` that is used here."""

    def get_secret_bytes(self) -> bytes:
        """The secret."""
        ...


SecretReference = str | BeamSecret


def check_reference(reference: SecretReference, what: str) -> None:
    """Refuses anything but a reference.

    Raises:
        CredentialsError: for a literal, without repeating it.
    """
    if isinstance(reference, str):
        scheme, _, rest = reference.partition(":")
        if scheme in ("env", "file", "gcpsecret") and rest:
            return
        raise CredentialsError(
            f"{what} must be a reference, not the secret itself, which would be stored in the "
            f"job graph. Give {_FORMS}."
        )
    if not callable(getattr(reference, "get_secret_bytes", None)):
        raise CredentialsError(f"{what} is a {type(reference).__name__}. Give {_FORMS}.")


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
        scheme, _, place = reference.partition(":")
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
    secret = secret.strip()
    if not secret:
        raise CredentialsError(f"{what}: {place} is empty. Put the secret there.")
    if not secret.isprintable() or not secret.isascii():
        raise CredentialsError(
            f"{what}: {place} holds characters that no Mixpanel secret has. "
            "Check that it holds the secret alone."
        )
    return secret


def _read_file(path: str, what: str) -> str:
    from apache_beam.io.filesystems import FileSystems

    try:
        if "://" in path:
            with FileSystems.open(path) as file:
                return bytes(file.read(65536)).decode("utf-8")
        with open(os.path.expanduser(path), encoding="utf-8") as local:
            return local.read(65536)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CredentialsError(
            f"{what}: the file {path} cannot be read ({reason}). "
            "Check the path and its permissions where the workers run."
        ) from None


def _read_gcp_secret(version: str, what: str) -> str:
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


def _check_token(token: SecretReference | None) -> None:
    if token is not None:
        check_reference(token, "The project token")


@dataclasses.dataclass(frozen=True)
class ApiSecret:
    """A project's API secret, the basic-auth user of /import.

    Args:
        secret: a reference to the secret.
        token: a reference to the project token, where events shall carry it in their
            properties as Mixpanel's HTTP API page shows. /import needs it for nothing
            else.

    >>> ApiSecret("env:MIXPANEL_API_SECRET")
    ApiSecret(secret='env:MIXPANEL_API_SECRET', token=None)
    """

    secret: SecretReference
    token: SecretReference | None = None

    def __post_init__(self) -> None:
        check_reference(self.secret, "The API secret")
        _check_token(self.token)

    def references(self) -> Iterator[SecretReference]:
        """Every reference in it."""
        yield from (r for r in (self.secret, self.token) if r is not None)

    def resolve(self) -> ResolvedCredentials:
        """Reads the secrets. Raises CredentialsError."""
        return ResolvedCredentials(
            resolve(self.secret, "The API secret"), "", token=_token(self.token), kind="API secret"
        )


@dataclasses.dataclass(frozen=True)
class ServiceAccount:
    """A service account with access to one project.

    >>> ServiceAccount("importer.abc123.mp-service-account", "env:MP_SERVICE_SECRET", 2195193)
    ... # doctest: +ELLIPSIS
    ServiceAccount(username='importer.abc123.mp-service-account', ...project_id=2195193, token=None)
    """

    username: str
    secret: SecretReference
    project_id: int | str
    token: SecretReference | None = None

    def __post_init__(self) -> None:
        check_reference(self.secret, "The service account's secret")
        _check_token(self.token)
        if not self.username or ":" in self.username:
            raise CredentialsError(
                "A service account needs its username, without a colon, and its secret apart."
            )
        if not str(self.project_id).isdigit():
            raise CredentialsError(
                f"project_id is {self.project_id!r}; it is the number in Mixpanel's project "
                "settings, and a service account needs it."
            )

    def references(self) -> Iterator[SecretReference]:
        """Every reference in it."""
        yield from (r for r in (self.secret, self.token) if r is not None)

    def resolve(self) -> ResolvedCredentials:
        """Reads the secrets. Raises CredentialsError."""
        return ResolvedCredentials(
            self.username,
            resolve(self.secret, "The service account's secret"),
            str(self.project_id),
            _token(self.token),
            "service account",
        )


@dataclasses.dataclass(frozen=True)
class ProjectToken:
    """A project token: basic-auth user of /import, and a property of every event.

    >>> ProjectToken("env:MIXPANEL_TOKEN")
    ProjectToken(token='env:MIXPANEL_TOKEN')
    """

    token: SecretReference

    def __post_init__(self) -> None:
        check_reference(self.token, "The project token")

    def references(self) -> Iterator[SecretReference]:
        """Every reference in it."""
        yield self.token

    def resolve(self) -> ResolvedCredentials:
        """Reads the token. Raises CredentialsError."""
        token = _token(self.token)
        assert token is not None
        return ResolvedCredentials(token, "", token=token, kind="project token")


Credentials = ApiSecret | ServiceAccount | ProjectToken


def credentials_named(
    prefix: str,
    api_secret: SecretReference | None,
    service_account: str | None,
    service_account_secret: SecretReference | None,
    project_id: int | str | None,
    project_token: SecretReference | None,
) -> Credentials:
    """The credentials that a command's options, or another language's settings, name.

    Args:
        prefix: of the settings' names in errors, such as "--".

    Raises:
        CredentialsError: for none, two, or half of one.
    """
    if api_secret and service_account:
        raise CredentialsError(f"Give {prefix}api_secret or {prefix}service_account, not both.")
    if api_secret:
        return ApiSecret(api_secret, project_token or None)
    if service_account:
        for name, value in (
            ("service_account_secret", service_account_secret),
            ("project_id", project_id),
        ):
            if not value:
                raise CredentialsError(f"{prefix}service_account needs {prefix}{name} as well.")
        assert service_account_secret
        assert project_id
        return ServiceAccount(
            service_account, service_account_secret, project_id, project_token or None
        )
    if project_token:
        return ProjectToken(project_token)
    example = f"{prefix}api_secret{' ' if prefix else ': '}env:MIXPANEL_API_SECRET"
    raise CredentialsError(
        f"No credentials: give {prefix}api_secret, {prefix}service_account or "
        f"{prefix}project_token, such as {example}."
    )


def _token(reference: SecretReference | None) -> str | None:
    if reference is None:
        return None
    token = resolve(reference, "The project token")
    if '"' in token or "\\" in token:  # it stands in each event's JSON
        raise CredentialsError(
            "The project token holds characters that no Mixpanel token has. Copy it once more from "
            "the project's settings."
        )
    return token
