"""What every write promises: accounting, failures that are told, secrets, streams."""

from __future__ import annotations

import logging
import pickle
import time
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline as Checked
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.display import DisplayData

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import FailedRecord, ReadCount, Receipt, Totals
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.privacy import Privacy
from tests.running import IN_PROCESS, Kept, failing, run
from tests.write.test_write import SECRET, record, write


class TestAccounting:
    @pytest.mark.parametrize(
        ("part", "extra"),
        [
            ("read", ReadCount("h", 1)),
            ("receipts", Receipt("h", 0, 1, 0, 0, 0, 1, 200, 0.0, 0.0)),
            ("failed", FailedRecord("x", "y")),
        ],
    )
    def test_a_count_that_is_off_fails_the_run(
        self, mixpanel: Emulator, part: str, extra: Any
    ) -> None:
        def build() -> None:
            with beam.Pipeline(IN_PROCESS) as pipeline:
                sink = write(mixpanel, check_accounting=False)
                result = pipeline | beam.Create([record(0)]) | sink
                more = pipeline | "Extra" >> beam.Create([extra])
                wrong = (getattr(result, part), more) | "Both" >> beam.Flatten()
                _ = result._replace(**{part: wrong}) | CheckAccounting()

        with pytest.raises(Exception, match="The accounting does not balance"):
            build()

    def test_an_empty_input_balances(self, mixpanel: Emulator) -> None:
        ran = run(beam.Create([]), write(mixpanel))
        assert ran.totals[0][0] == Totals()
        assert mixpanel.stats()["requests"] == 0


class TestStreaming:
    def test_unbounded_input_needs_a_latency(self, mixpanel: Emulator) -> None:
        pipeline = Checked(options=PipelineOptions(streaming=True))
        records = pipeline | Script().add_elements([record(0)]).advance_watermark_to_infinity()
        records.is_bounded = False
        with pytest.raises(SettingError, match="max_latency"):
            _ = records | write(mixpanel)

    def test_partial_batches_go_out_in_time_and_once(self, mixpanel: Emulator) -> None:
        stream = (
            Script()
            .add_elements([record(n) for n in range(3)])
            .advance_processing_time(2_000_000_000)  # past the clock's time, from 1970 on
            .add_elements([record(n) for n in range(3, 8)])
            .advance_processing_time(1000)
            .add_elements([record(8)])
            .advance_watermark_to_infinity()
        )
        kept = Kept()
        with Checked(options=PipelineOptions(streaming=True)) as pipeline:
            result = pipeline | stream | write(mixpanel, max_latency=5)
            _ = result.receipts | beam.Map(kept)
        assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(9))
        assert sorted(receipt.accepted for receipt in kept.values) == [1, 3, 5]

    def test_bounded_input_with_a_latency_loses_nothing(self, mixpanel: Emulator) -> None:
        run([record(n) for n in range(2500)], write(mixpanel, max_latency=3600))
        assert mixpanel.stats()["events_distinct"] == 2500


class TestSecrets:
    def test_nothing_that_leaves_the_worker_holds_them(
        self, mixpanel: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        mixpanel.faults(
            [{"kind": "status", "status": 500}, {"kind": "reset"},
             {"kind": "failed_records", "records": [{"index": 0}]}]
        )  # fmt: skip
        both = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
        sink = write(mixpanel, credentials=both)
        pipeline = beam.Pipeline(IN_PROCESS)
        _ = pipeline | beam.Create([record(0), record(1)]) | sink
        proto = pipeline.to_runner_api().SerializeToString()
        ran = run([record(0), record(1)], sink)
        texts = [
            proto,
            pickle.dumps(sink._job),
            repr(DisplayData.create_from(sink).items).encode(),
            repr(ran).encode(),
            caplog.text.encode(),
            repr(sink.__dict__).encode(),
        ]
        assert b"attempt 1" in caplog.text.encode()
        for text in texts:
            assert SECRET.encode() not in text
            assert b"t0ken-0123456789abcdef" not in text

    def test_nor_do_errors(self, mixpanel: Emulator) -> None:
        mixpanel.faults([{"kind": "status", "status": 403, "body": "forbidden"}])
        assert SECRET not in failing([record(0)], write(mixpanel))


class TestFailuresAreNotSilent:
    def test_the_log_names_the_first_and_the_sum(
        self, mixpanel: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        records = [record(n, at=time.time()) for n in range(50)]
        with beam.Pipeline(IN_PROCESS) as pipeline:
            pipeline | beam.Create(records) | write(mixpanel)
        said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        (first,) = [line for line in said if line.startswith("A record failed: ")]
        assert "field at" in first
        assert "user (text of " in first
        assert "50 of 50 records failed; none were accepted." in said

    def test_it_shows_nothing_that_privacy_hides(
        self, mixpanel: Emulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(0)
        monkeypatch.setenv("TEST_PEPPER", "pepper")
        hide = Privacy(hash=["user"], drop=["note"], key="env:TEST_PEPPER")
        records = [record(n, user="ada@example.com", note="hush", at=None) for n in range(3)]
        with beam.Pipeline(IN_PROCESS) as pipeline:
            pipeline | beam.Create(records) | write(mixpanel, privacy=hide)
        ours = "\n".join(e.getMessage() for e in caplog.records if e.name.startswith("mixpanel"))
        assert "A record failed" in ours
        for secret in ("ada@", "hush", "pepper", SECRET):
            assert secret not in ours

    def test_a_switch(self, mixpanel: Emulator) -> None:
        with beam.Pipeline(IN_PROCESS) as pipeline:
            result = pipeline | beam.Create([]) | write(mixpanel, check_accounting=False)
        assert result.totals is None
        assert not any("Accounting" in label for label in pipeline.applied_labels)
        with pytest.raises(SettingError, match='"dead_letter" or "fail"'):
            write(mixpanel, on_failure="stop")
