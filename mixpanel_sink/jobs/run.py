"""Runs a graph on its runner, and prints the outcome."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.configured import endpoint_of, quota_of
from mixpanel_sink.errors import OutputError, writing
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs import errors, launches, notify, outcome, progress, runners
from mixpanel_sink.jobs.console import error_text, printed_once, say_error
from mixpanel_sink.jobs.following import after_sending, following
from mixpanel_sink.jobs.outputs import check_output, failed_prefix, remove_old, write_text
from mixpanel_sink.jobs.status import left_after
from mixpanel_sink.jobs.watch import Watch
from mixpanel_sink.read.listing import File
from mixpanel_sink.report.accounting import read_accounts
from mixpanel_sink.report.failures import SummarizeFailures, read_summaries
from mixpanel_sink.report.finished import read_counters, read_texts
from mixpanel_sink.report.requests_summary import SummarizeRequests, read_requests
from mixpanel_sink.report.run_report import RunReport
from mixpanel_sink.results import FailedRecord, FailureSummary, WriteResult
from mixpanel_sink.send.tally import tally
from mixpanel_sink.settings.options import REFERENCES, Settings

if TYPE_CHECKING:
    from mixpanel_sink.configured import Write


def before_start(write: Write, settings: Settings, options: Any, topic: bool = False) -> None:
    """What can be known before any data is read: the outputs, the checkpoint, the endpoint.

    Args:
        write: to Mixpanel.
        settings: of the user.
        options: Beam's.
        topic: whether failed records go to a topic, not to files.

    Raises:
        SettingError, DestinationError: what is wrong.
    """
    elsewhere = runners.runs_remotely(options)
    if write.mark is not None:
        print(f"Run: every event carries {write.mark.name} = {write.mark.run}")
        notify.note(run=write.mark.run)
    if settings.failed_output and not topic:
        check_output("failed_output", settings.failed_output, elsewhere)
    if settings.report:
        check_output("report", settings.report)  # the launcher writes it
    if not elsewhere:
        write.claim_checkpoint()
        write.check_connections()
    elif settings.checkpoint:
        check_output("checkpoint", settings.checkpoint, elsewhere)
    if settings.preflight:
        for answer in write.preflight():
            print(f"Preflight: {answer.said}")
    if settings.failed_output and not topic and not settings.checkpoint:
        remove_old(settings.failed_output)


def keep_accounts(result: WriteResult, failed: Any, settings: Settings, run: str = "") -> Any:
    """Keeps and sums up the failed records, and sums up the requests where a report is wanted. (The
    write checks the accounting by itself.)

    Args:
        result: of the write.
        failed: PCollection of `FailedRecord`: the write's, and those of the source.
        settings: of the user.
        run: name of a run with a checkpoint, whose failed records lie beside those of other runs.

    Returns:
        PCollection of what was written with failed records; None if they are not kept.
    """
    if settings.report:
        result.receipts | "Summarize requests" >> SummarizeRequests()
    failed | "Summarize failures" >> SummarizeFailures()
    if not settings.failed_output:
        return None
    prefix = failed_prefix(settings.failed_output, run)
    return (
        failed
        | "As JSON" >> beam.Map(FailedRecord.to_json).with_output_types(str)
        | errors.WRITES_FAILED
        >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl", skip_if_empty=True)
    )


def run(
    pipeline: beam.Pipeline,
    settings: Settings,
    total: Callable[[], int | None] = lambda: None,
    files: Sequence[File] = (),
) -> int:
    """Runs the graph and returns the exit code. A remote job is launched and not waited for.

    Args:
        pipeline: as built.
        settings: of the user.
        total: counts the records that there are to read, for the progress bar.
        files: that are read, if what they hold can be compared with Mixpanel's.
    """
    started, began = time.time(), time.monotonic()
    watch = Watch(total, runners.works_here(pipeline.options))
    if settings.report:
        tally().begin_breakdown()
    try:
        if runners.runs_remotely(pipeline.options):
            return _launch(pipeline, settings)
        known = errors.known_errors_once()
        with printed_once(), known, progress.shown(settings.progress, watch):
            result = pipeline.run()
            watch.runs_as(result)
            result.wait_until_finish()
    except (Exception, KeyboardInterrupt) as error:  # runners wrap both, each in its own way
        if errors.interrupted(error):
            notify.note(error="Interrupted.")
            sys.stderr.write(f"\nInterrupted. {_standing(settings, watch)}\n")
            return EXIT_INTERRUPTED
        said = errors.sentence(error, settings.failed_output)
        notify.note(error=said)
        # In one piece, on a line of its own: the runner's threads may be writing tracebacks.
        shown = error_text(said, errors.kind(error))
        sys.stderr.write(f"\n{shown}\n{_standing(settings, watch)}\n")
        return outcome.EXIT_FAILED
    return _finish(result, settings, (started, time.monotonic() - began), files)


def _standing(settings: Settings, watch: Watch) -> str:
    """What a run that did not end well has done, and how to go on."""
    return launches.standing() or outcome.so_far(settings, watch.look())


def _finish(
    result: Any, settings: Settings, took: tuple[float, float], files: Sequence[File]
) -> int:
    """Prints the accounting, writes the report, and returns the exit code.

    Args:
        result: of the runner.
        settings: of the user.
        took: when it started, in seconds since 1970, and for how many seconds it ran.
        files: that were read.
    """
    accounts, failures = read_accounts(result), read_summaries(result)
    counters = {**read_counters(result), **outcome.counted(accounts)}
    notify.note(counters=counters, failures=failures)
    refused = read_texts(result, "projects_refused")
    balanced = outcome.print_accounting(counters, settings.failed_output, failures)
    outcome.print_projects(accounts, refused)
    if settings.report:
        report = _report(result, settings, took, counters, failures, files)
        try:
            with writing(f"the report {settings.report}"):  # Beam's errors are OSErrors, too
                write_report(settings.report, report)
        except OutputError as error:  # such as a disk that is full by now
            say_error(f"{error} The run is complete: its accounting is above.", "OutputError")
            return outcome.EXIT_FAILED
        print(f"  Report: {settings.report}")
    return outcome.exit_code(counters, balanced, refused)


def _launch(pipeline: beam.Pipeline, settings: Settings) -> int:
    """Launches the job, and does not wait for it."""
    if settings.report:
        print(
            "--report is not written: only a run that is waited for has one. The job's own page "
            "shows the same counters.",
            file=sys.stderr,
        )
    said = runners.launch(pipeline)
    notify.note(status="launched", result=said)
    print(said)
    return outcome.EXIT_OK


def _report(
    result: Any,
    settings: Settings,
    took: tuple[float, float],
    counters: Mapping[str, int],
    failures: Sequence[FailureSummary],
    files: Sequence[File],
) -> RunReport:
    given = {name: str(value) for name, value in settings.given().items()}
    accepted = tally().breakdown()
    whole = sum(accepted.values()) + counters.get("events_known", 0)
    failed = bool(counters.get("records_failed"))
    verify = bool(files) and not (endpoint_of(settings).identity or settings.projects)
    return RunReport(
        title=f"Mixpanel import of {given.get('input', '')}",
        started=took[0],
        seconds=took[1],
        settings={name: value for name, value in given.items() if name not in REFERENCES},
        counters=counters,
        failures=[each._asdict() for each in failures],
        requests=read_requests(result),
        quota=quota_of(settings),
        batch_events=settings.batch_events or Limits().batch_events,
        files=[(each.path, each.size) for each in files],
        # Workers in processes of their own have a tally of their own.
        accepted=accepted if whole == counters.get("events_accepted", 0) else {},
        failed_output=settings.failed_output,
        next_steps=_next_steps(settings, failed, verify),
    )


def _next_steps(settings: Settings, failed: bool, verify: bool) -> list[tuple[str, str]]:
    left = left_after(settings) if failed else None
    if left is None:
        return after_sending(settings, failed, verify)
    steps = after_sending(settings, bool(left.failures), verify, left.failures)
    if left.is_incomplete:  # which sends again what was given up
        again = following("import", settings, settings.mapping)
        steps.insert(0, ("Import the rest of the files that are not complete.", again))
    return steps


def write_report(path: str, report: RunReport) -> None:
    """Writes run.html and run.json, locally or to any file system that Beam knows."""
    stem = path.removesuffix(".html").removesuffix(".json")
    for name, text in ((f"{stem}.html", report.to_html()), (f"{stem}.json", report.to_json())):
        write_text(name, text)
