"""A command line into settings and Beam's options."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions

from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs.beam_options import beam_parser, parse
from mixpanel_sink.jobs.parse import spelled
from mixpanel_sink.settings.options import COMMANDS, OPTIONS, options_of


def test_regions_of_mixpanel_and_of_google_cloud() -> None:
    words = ["--region=eu", "--region", "in", "--region=europe-west1", "--region", "us-east4"]
    assert spelled(words, options_of("import")) == [
        "--mixpanel-region=eu",
        *("--mixpanel-region", "in"),
        "--region=europe-west1",
        *("--region", "us-east4"),
    ]


@pytest.mark.parametrize("option", options_of("import"), ids=lambda each: each.name)
def test_hyphens_and_underscores_are_both_accepted(option) -> None:
    """And so is every option of the table, with its value as text or as it is alone."""
    examples = {"NAME=TYPE,…": "a=integer", "N": "3", "SEC": "5", "RATE": "60/hour"}
    examples |= {"ROWS": "all", "": "true", "DAY": "2024-05-31"}
    examples |= {"URL": "https://localhost/x"}
    others = [word for word, _ in option.kind.choices if word != option.default]
    text = others[0] if others else examples.get(option.metavar, "x")
    for name in (option.name, option.name.replace("_", "-")):
        settings, _ = parse([f"--{name}={text}"], "import", "", None)
        assert settings.given() == {option.name: option.kind.show(option.kind.parse(text))}
    if option.kind.alone:
        settings, _ = parse([f"--{option.name}"], "import", "", None)
        assert getattr(settings, option.field) == option.kind.parse(option.kind.alone)


def test_what_is_not_ours_is_beams_and_beam_shows_ours() -> None:
    words = ["--runner=DirectRunner", "--temp_location", "gs://t", "--lanes", "3", "--preflight"]
    settings, options = parse([*words, "--region=europe-west1"], "import", "", None)
    assert settings.given() == {"lanes": 3, "preflight": True}
    assert options.view_as(GoogleCloudOptions).temp_location == "gs://t"
    assert options.view_as(GoogleCloudOptions).region == "europe-west1"
    shown = options.get_all_options(drop_default=True)
    assert (shown["lanes"], shown["preflight"]) == (3, True)
    assert options.get_all_options()["allow_http"] is False


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--lnaes=3", "did you mean --lanes?"),
        ("--no_such_thing=3", "The option --no_such_thing is unknown."),
        ("--only=empty", "import has no --only; it is for replay."),
        ("--report_dir=x", "import has no --report-dir; it is for verify."),
    ],
)
def test_what_nobody_knows(word: str, says: str) -> None:
    with pytest.raises(SettingError) as raised:
        parse([word], "import", "", None)
    assert says in str(raised.value)


def test_no_option_has_the_name_of_one_of_beams() -> None:
    """But for those that the table knows of: --region, and --dry_run, which is taken out first."""
    beams = {name[2:] for name in beam_parser()._option_string_actions}
    ours = {each.beside_beam for each in OPTIONS if {*each.faces} & {*COMMANDS}}
    assert ours & beams == {"dry_run"}
