"""Credentials are references: they resolve on workers; a literal secret is refused."""

from __future__ import annotations

import pathlib
import pickle
from typing import Any

import pytest

from mixpanel_sink.errors import CredentialsError
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken, ServiceAccount

LITERAL = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"


class Vault:
    """Like Beam's Secret."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content

    def get_secret_bytes(self) -> bytes:
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def test_api_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", f" {LITERAL}\n")
    resolved = ApiSecret("env:A_SECRET").resolve()
    assert (resolved.user, resolved.password, resolved.token) == (LITERAL, "", None)
    assert resolved.kind == "API secret"


def test_service_account_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret"
    path.write_text(LITERAL + "\n")
    resolved = ServiceAccount("robot.1.mp-service-account", f"file:{path}", 42).resolve()
    assert resolved.user == "robot.1.mp-service-account"
    assert (resolved.password, resolved.project_id) == (LITERAL, "42")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_secret_as_windows_writes_it(tmp_path: pathlib.Path, encoding: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f"{LITERAL}\r\n".encode(encoding))
    assert ApiSecret(f" file:{path}\n").resolve().user == LITERAL


@pytest.mark.parametrize("mark", ["'", '"'])
def test_a_secret_in_quotation_marks(monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    monkeypatch.setenv("A_SECRET", f"{mark}{LITERAL}{mark}")
    with pytest.raises(CredentialsError, match="is in quotation marks") as found:
        ApiSecret("env:A_SECRET").resolve()
    assert LITERAL not in str(found.value)


def test_project_token_is_user_and_property() -> None:
    resolved = ProjectToken(Vault(LITERAL.encode())).resolve()
    assert (resolved.user, resolved.token) == (LITERAL, LITERAL)


@pytest.mark.parametrize("token", [b'tok"en', b"tok\\en"])
@pytest.mark.parametrize(
    "make", [ProjectToken, lambda token: ApiSecret(Vault(b"secret-0123456789"), token=token)]
)
def test_a_token_that_json_would_escape(make: Any, token: bytes) -> None:
    with pytest.raises(CredentialsError, match="The project token holds characters"):
        make(Vault(token)).resolve()


def test_a_token_beside_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", LITERAL)
    both = ApiSecret("env:A_SECRET", token=Vault(b"tok"))
    assert both.resolve().token == "tok"


@pytest.mark.parametrize(
    "make",
    [
        lambda secret: ApiSecret(secret),
        lambda secret: ApiSecret("env:X", token=secret),
        lambda secret: ServiceAccount("robot", secret, 1),
        lambda secret: ProjectToken(secret),
    ],
)
@pytest.mark.parametrize("secret", [LITERAL, f"envy:{LITERAL}", f"https://{LITERAL}", "env:", ""])
def test_literals_are_refused_without_an_echo(make: object, secret: str) -> None:
    with pytest.raises(CredentialsError, match="must be a reference") as caught:
        make(secret)  # type: ignore[operator]
    assert LITERAL not in str(caught.value)
    assert "env:NAME" in str(caught.value)


def test_what_is_no_reference_at_all() -> None:
    with pytest.raises(CredentialsError, match="is a bytes"):
        ApiSecret(LITERAL.encode())  # type: ignore[arg-type]


@pytest.mark.parametrize("username", ["", "robot:secret"])
def test_a_username_is_needed_apart(username: str) -> None:
    with pytest.raises(CredentialsError, match="without a colon"):
        ServiceAccount(username, "env:X", 1)


def test_a_project_id_is_a_number() -> None:
    with pytest.raises(CredentialsError, match="project_id is 'shop'; it is the number"):
        ServiceAccount("robot", "env:X", "shop")


def test_an_unset_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(CredentialsError, match="environment variable NOT_THERE is not set"):
        ApiSecret("env:NOT_THERE").resolve()


def test_a_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CredentialsError, match=r"cannot be read \(No such file or directory\)"):
        ApiSecret(f"file:{tmp_path}/none").resolve()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"  \n", "is empty"),
        (b"two\nlines", "characters that no Mixpanel secret has"),
        ("sécret".encode(), "characters that no Mixpanel secret has"),
        (b"\xff\xfe" + LITERAL.encode(), "Vault object"),
        (RuntimeError(f"denied: {LITERAL}"), "Vault object"),
    ],
)
def test_a_secret_that_is_none(content: bytes | Exception, said: str) -> None:
    with pytest.raises(CredentialsError, match=said) as caught:
        ApiSecret(Vault(content)).resolve()
    assert LITERAL not in str(caught.value)


def test_a_secret_of_google_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.utils import secret

    def refuse(self: object) -> bytes:
        raise RuntimeError(f"denied: {LITERAL}")

    monkeypatch.setattr(secret.GcpSecret, "get_secret_bytes", refuse)
    with pytest.raises(CredentialsError, match=r"projects/p/secrets/s/versions/latest") as caught:
        ApiSecret("gcpsecret:projects/p/secrets/s").resolve()
    assert LITERAL not in str(caught.value)


def test_resolved_secrets_have_no_repr_and_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", LITERAL)
    references = ServiceAccount("robot", "env:A_SECRET", 1, token="env:A_SECRET")
    resolved = references.resolve()
    assert LITERAL not in repr(resolved) + str(resolved) + repr(references)
    assert LITERAL.encode() not in pickle.dumps(references)
    with pytest.raises(TypeError, match="not to be pickled") as caught:
        pickle.dumps(resolved)
    assert LITERAL not in str(caught.value)
