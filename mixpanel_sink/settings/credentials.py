"""How we authenticate with Mixpanel: references to secrets, which workers resolve.

A secret is never part of the pipeline: what is pickled, logged and shown is where it
lies (`env:NAME`, `file:PATH`, `gcpsecret:VERSION`, or a Beam `Secret` object).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.errors import CredentialsError, kind_of
from mixpanel_sink.secrets import SecretReference, check_reference, resolve
from mixpanel_sink.settings.names import named

MASKED_TOKEN = "*" * 32
"""Stands for the project token, which has as many letters."""


def _check_token(token: SecretReference | None) -> None:
    if token is not None:
        check_reference(token, "The project token")


@dataclasses.dataclass(frozen=True)
class ApiSecret:
    """A project's API secret, the basic-auth user of /import.

    Args:
        secret: a reference to the secret.
        token: a reference to the project token, where events are to carry it in their
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
                "A service account needs its username, without a colon, and its secret separately."
            )
        if not str(self.project_id).isdigit():
            raise CredentialsError(
                f"project_id is {self.project_id!r}; it is the number in Mixpanel's project "
                "settings, and a service account needs it."
            )

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

    def resolve(self) -> ResolvedCredentials:
        """Reads the token. Raises CredentialsError."""
        token = _token(self.token)
        assert token is not None
        return ResolvedCredentials(token, "", token=token, kind="project token")


Credentials = ApiSecret | ServiceAccount | ProjectToken


def check_credentials(given: Any) -> None:
    """Refuses what is not one of the three kinds of credentials, without repeating it.

    Raises:
        CredentialsError: says what to give.
    """
    if not isinstance(given, Credentials):
        what = "missing" if given is None else kind_of(given)
        raise CredentialsError(
            f"credentials is {what}: give ApiSecret, ServiceAccount or ProjectToken, such as "
            'ApiSecret("env:MIXPANEL_API_SECRET").'
        )


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
        raise CredentialsError(
            f"Give {named(prefix, 'api_secret')} or {named(prefix, 'service_account')}, not both."
        )
    if api_secret:
        return ApiSecret(api_secret, project_token or None)
    if service_account:
        for name, value in (
            ("service_account_secret", service_account_secret),
            ("project_id", project_id),
        ):
            if not value:
                raise CredentialsError(
                    f"{named(prefix, 'service_account')} needs {named(prefix, name)} as well."
                )
        assert service_account_secret
        assert project_id
        return ServiceAccount(
            service_account, service_account_secret, project_id, project_token or None
        )
    if project_token:
        return ProjectToken(project_token)
    example = f"{named(prefix, 'api_secret')}{' ' if prefix else ': '}env:MIXPANEL_API_SECRET"
    secret, account = named(prefix, "api_secret"), named(prefix, "service_account")
    raise CredentialsError(
        f"No credentials: give {secret}, {account} or {named(prefix, 'project_token')}, such as "
        f"{example}."
    )


def _token(reference: SecretReference | None) -> str | None:
    if reference is None:
        return None
    token = resolve(reference, "The project token")
    if '"' in token or "\\" in token:  # it is part of each event's JSON
        raise CredentialsError(
            "The project token holds characters that no Mixpanel token has. Copy it once more from "
            "the project's settings."
        )
    return token
