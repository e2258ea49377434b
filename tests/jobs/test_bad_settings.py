"""Settings that are refused before anything is sent."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipelines.parquet_to_mixpanel import main
from tests.jobs.test_import_parquet import shop, write


class TestBadSettings:
    """One sentence on stderr, exit code 2, and nothing sent."""

    @pytest.mark.parametrize(
        ("argument", "says"),
        [
            ("--api-secret=env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
            ("--api-secret=file:/nowhere/secret", "/nowhere/secret cannot be read"),
            ("--api-secret=0123456789abcdef", "must be a reference"),
            ("--api-secret=", "No credentials"),
            ("--quota=sixty", "'sixty' cannot be read"),
            ("--quota=0/hour", "must be positive"),
            ("--lanes=0", "at least 1"),
            ("--endpoint=http://example.com", "unencrypted"),
            ("--endpoint=ftp://127.0.0.1", "http or https"),
            ("--mapping=/nowhere/m.yaml", "--mapping"),
            ("--mixpanel_region=us", "not both"),
            ("--runtime_type_check", "Beam's own step that writes files"),
            ("--performance_runtime_type_check", "as if they were the step's first output"),
        ],
    )
    def test_settings(self, send, server, tmp_path, argument, says):
        run = send(write(tmp_path / "a.parquet", shop(3)), argument)
        assert run.code == 2
        assert says in run.err
        assert run.err.count("\n") == 2  # the sentence, and its code
        assert "0123456789abcdef" not in run.err
        assert server.stats()["requests"] == 0

    def test_a_misspelt_option_is_not_dropped(self, send, server, tmp_path):
        run = send(write(tmp_path / "a.parquet", shop(3)), "--failed_ouput=/tmp/x")
        assert run.code == 2
        assert "did you mean --failed-output?" in run.err
        assert server.stats()["requests"] == 0

    def test_an_option_that_nobody_knows(self, send, server, tmp_path):
        run = send(write(tmp_path / "a.parquet", shop(3)), "--wibble=email")
        assert run.code == 2
        assert "The option --wibble is unknown" in run.err
        assert server.stats()["requests"] == 0

    @pytest.mark.parametrize("option", ["drop-properties", "hash-properties"])
    def test_a_misspelt_column_to_hide_is_not_sent(self, send, server, tmp_path, option):
        run = send(write(tmp_path / "a.parquet", shop(3)), f"--{option}=amount,usr")
        assert run.code == 2
        assert f"--{option} names 'usr'" in run.err
        assert "Did you mean 'user'?" in run.err
        assert server.stats()["requests"] == 0

    def test_help(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        for option in ("--input", "--mapping", "--api-secret", "--quota", "--failed-output"):
            assert option in out

    def test_unknown_region(self, send, tmp_path):
        run = send(write(tmp_path / "a.parquet", shop(3)), "--endpoint=", "--mixpanel_region=eo")
        assert run.code == 2
        assert "us, eu or in" in run.err

    @pytest.mark.parametrize(
        ("mapping", "says"),
        [
            ("event: name\ndistinct_id: usr\ntime: {column: at, unit: ms}", "Did you mean 'user'?"),
            ("event: name\ndistinct_id: user\ntime: at", "does not name its unit"),
            ("event: name\ndistinct_id: amount\ntime: {column: at, unit: ms}", "text or integers"),
            ("event: name\ntime: {column: at, unit: ms}", "names no user"),
            ("event: name\ndistinct_id: user\ntimes: at", "Did you mean 'time'?"),
            ("event: [", "not valid YAML"),
        ],
    )
    def test_mapping(self, send, server, tmp_path, mapping, says):
        run = send(write(tmp_path / "a.parquet", shop(3)), mapping=mapping)
        assert run.code == 2
        assert says in run.err
        assert server.stats()["requests"] == 0

    def test_wrong_secret_stops_after_one_request(self, send, server, tmp_path, monkeypatch):
        monkeypatch.setenv("OTHER", "not-the-secret")
        run = send(write(tmp_path / "a.parquet", shop(20_000)), "--api-secret=env:OTHER")
        assert run.code == 1
        assert "does not accept the API secret" in run.err
        assert "Traceback" not in run.err
        assert "not-the-secret" not in run.err + run.out
        assert server.stats()["requests"] == 1

    def test_its_process_says_so_once(self, send, server, tmp_path, monkeypatch):
        monkeypatch.setenv("OTHER", "not-the-secret")
        source = write(tmp_path / "a.parquet", shop(20_000))
        run = send(source, "--api-secret=env:OTHER", own_process=True)
        assert run.code == 1
        assert "Traceback" not in run.err
        assert run.err.count("does not accept the API secret") == 1


class Two(beam.DoFn):
    """Has two outputs, of the types that are declared."""

    def process(self, element: str) -> Any:
        """Yields one of each."""
        yield 1, element
        yield beam.pvalue.TaggedOutput("other", element)


@pytest.mark.parametrize("option", ["runtime_type_check", "performance_runtime_type_check"])
def test_beams_type_checks_fail_without_the_sink(tmp_path: pathlib.Path, option: str) -> None:
    """Why the commands refuse them. Once Beam passes, they need not."""
    pipeline = beam.Pipeline(options=PipelineOptions([f"--{option}"]), runner=FnApiRunner())
    texts = pipeline | beam.Create(["a"])
    if option == "runtime_type_check":
        _ = texts | beam.io.WriteToText(f"{tmp_path}/out")
    else:
        made = texts | beam.ParDo(Two()).with_output_types(tuple[int, str]).with_outputs("other")
        _ = made.other | beam.Map(len).with_input_types(str)
    with pytest.raises(Exception, match=r"FinalizeWrite|ParDo\(Two\)"):
        pipeline.run()
