"""Projects from a file, and what an endpoint needs of them."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from mixpanel_sink.api.endpoints import ENGAGE, IMPORT, TRACK
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import RecordError, SettingError
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken, ServiceAccount
from mixpanel_sink.settings.project import (
    Project,
    Route,
    Target,
    projects_from_yaml,
    unknown_project,
)
from mixpanel_sink.settings.quota import Quota

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def test_the_example_file() -> None:
    projects = projects_from_yaml((CONFIGS / "projects.yaml").read_text())
    assert projects == {
        "shop_us": Project(ApiSecret("env:SHOP_US_SECRET")),
        "shop_eu": Project(
            ServiceAccount("importer.abc123.mp-service-account", "env:SHOP_EU_SECRET", 2195193),
            region="eu",
        ),
        "shop_in": Project(ProjectToken("env:SHOP_IN_TOKEN"), region="in", quota="30/hour"),
    }
    assert projects["shop_in"].destination.host == "api-in.mixpanel.com"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is a list of names"),
        ("- a", "is a list of names"),
        ("a:", "project 'a': it needs settings"),
        ("a: {region: eu}", "project 'a': No credentials: give api_secret"),
        ("a: {api_secrett: env:X}", "'api_secrett' is unknown. Did you mean 'api_secret'"),
        ("a: {api_secret: env:X, region: mars}", "project 'a': The region 'mars' is unknown"),
        ("a: {api_secret: env:X, quota: 60}", "quota is an int; write it as text"),
        ("a: {api_secret: env:X, quota: often}", "cannot be read"),
        ("a: {api_secret: env:X, service_account: y}", "or service_account, not both"),
        ("a: {service_account: y}", "needs service_account_secret as well"),
        (
            "a: {api_secret: env:X}\na: {api_secret: env:Y}",
            "The projects file has the key 'a' twice",
        ),
        ("a: [", "The projects file is not valid YAML"),
        ("a: {api_secret: 5}", "api_secret is an int"),
    ],
)
def test_a_wrong_file(text: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        projects_from_yaml(text)
    assert said in str(caught.value)


def test_a_literal_secret_is_not_repeated() -> None:
    with pytest.raises(SettingError, match="must be a reference") as caught:
        projects_from_yaml("a: {api_secret: 0123456789abcdef}")
    assert "0123456789" not in str(caught.value)


def test_the_default_quota_is_the_endpoints() -> None:
    project = Project(ProjectToken("env:X"))
    assert Target.of(None, project, IMPORT, 1, Limits()).quota == Quota.page()
    assert Target.of(None, project, TRACK, 1, Limits()).limits.max_age_seconds == 5 * 86_400
    target = Target.of("shop", project, ENGAGE, 8, Limits())
    assert (target.name, target.quota) == ("shop", Quota.reference())
    assert target.limits == Limits()


def test_limits_come_with_the_quota_unless_they_are_given() -> None:
    project = Project(ProjectToken("env:X"), quota="reference")
    assert Target.of(None, project, IMPORT, 1, None).limits == Limits(event_bytes=1_000_000)
    assert Target.of(None, project, IMPORT, 1, Limits()).limits == Limits()
    small = Limits(event_bytes=500)
    assert Target.of(None, project, IMPORT, 1, small).limits == small
    page = Project(ProjectToken("env:X"))
    assert Target.of(None, page, IMPORT, 1, None).limits == Limits()
    assert Target.of(None, page, ENGAGE, 1, None).limits == Limits(event_bytes=1_000_000)


def test_a_route_names_a_project() -> None:
    assert Route("shop").name_of({"shop": "a"}) == "a"
    assert Route("shop").name_of({"event": "E", "properties": {"shop": "a"}}) == "a"
    assert Route("shop").name_of({"shop": None}) is None
    with pytest.raises(RecordError) as caught:
        Route("shop").name_of({"properties": 5})
    assert (caught.value.reason, caught.value.field) == ("destination_unknown", "shop")


def test_a_name_that_cannot_be_shown() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert "(Odd)" in unknown_project(Odd(), {"a": 1}, None).message
    long: Any = "x" * 10_000
    assert len(unknown_project(long, {"a": 1}, None).message) < 300
