"""The table of error codes: complete, and true to the source."""

from __future__ import annotations

import inspect
import pathlib
import re

import pytest

from mixpanel_sink import codes, errors
from mixpanel_sink.jobs import reference
from mixpanel_sink.results import REASONS
from tests.docs.test_docs import texts_of_the_source

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = {
    name
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, errors.MixpanelSinkError)
}


def test_each_reason_has_a_code_and_each_code_of_a_record_is_a_reason() -> None:
    assert {each.name for each in codes.CODES if each.code >= "MXS5"} == REASONS
    assert codes.of_reason("no_such_reason") is None


def test_each_class_of_error_has_a_code() -> None:
    named = [each.error for each in codes.CODES if each.error]
    assert len(named) == len(set(named))
    assert set(named) == CLASSES


def test_codes_and_names_are_unique_and_in_order() -> None:
    numbers = [each.code for each in codes.CODES]
    assert numbers == sorted(set(numbers))
    assert len({each.name for each in codes.CODES}) == len(codes.CODES)
    assert all(re.fullmatch(r"MXS[1-8]\d\d", number) for number in numbers)
    for each in codes.CODES:
        assert each.meaning.endswith(".")
        assert each.fix.endswith(".")


def test_the_texts_that_tell_errors_apart_are_in_the_source() -> None:
    table = {text for each in codes.CODES for text in each.texts}
    source = [text for text in texts_of_the_source() if text not in table]
    for text in sorted(table):
        assert any(text in each for each in source), text


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        ("api.mixpanel.com does not accept the API secret (401).", "AuthenticationError", "MXS203"),
        ("--failed-output x cannot be written (No space).", "SettingError", "MXS311"),
        ("Something else about a setting.", "SettingError", "MXS103"),
        ("The quota '1/x' cannot be read. Write it as '60/hour'.", "SettingError", "MXS104"),
        ("The checkpoint is another's.", "CheckpointError", "MXS312"),
        ("the runner failed (OSError).", "MixpanelSinkError", "MXS499"),
        ("the runner failed (OSError).", "NoSuchClass", "MXS499"),
    ],
)
def test_an_error_is_known_by_its_text_or_its_class(message: str, kind: str, code: str) -> None:
    assert codes.of_error(message, kind).code == code
    told = codes.told(message, kind)
    assert told == f"Error: {message}\n  {code}: mixpanel-sink explain {code}"


def test_the_page_is_the_one_that_the_table_makes_and_has_each_links_target() -> None:
    page = (ROOT / reference.ERRORS).read_text()
    assert page == reference.errors_page(), "python -m mixpanel_sink.jobs.reference makes it"
    for each in codes.CODES:
        assert f'<a id="{each.code.lower()}"></a>{each.code} | `{each.name}`' in page
