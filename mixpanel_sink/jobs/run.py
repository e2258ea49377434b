"""What the example pipelines share: exit codes, the accounting, errors in one sentence."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from mixpanel_sink import errors
from mixpanel_sink.jobs import progress
from mixpanel_sink.jobs.options import MixpanelOptions, Write, endpoint_of, quota_of, runs_remotely
from mixpanel_sink.jobs.outputs import check_output
from mixpanel_sink.report.accounting import CheckAccounting, read_books
from mixpanel_sink.report.failures import SummarizeFailures, describe, read_summaries
from mixpanel_sink.report.metrics import live_counts, read_counters, read_texts
from mixpanel_sink.report.run_report import RunReport, SummarizeRequests, read_requests
from mixpanel_sink.results import FailedRecord, FailureSummary, Totals, WriteResult

_LOGGER = logging.getLogger(__name__)
_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_STATE_CACHE_MB = 100

_REFERENCES = ("api_secret", "service_account_secret", "project_token", "hash_key")
"""Options that say where secrets lie: not for a page that goes around."""

EXIT_OK, EXIT_FAILED, EXIT_SETTING, EXIT_INTERRUPTED = 0, 1, 2, 130

_UNREAD = {"files_unreadable": "files not readable", "lines_unreadable": "lines not readable"}
"""Counters of input that was not read: the run must not look whole."""

_KNOWN = "|".join(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.MixpanelSinkError)
)
_RAISED = re.compile(
    rf"(?:mixpanel_sink\.errors\.)?(?:{_KNOWN}): (.+?)(?: \[while running|$)", re.M
)

_LOST = re.compile("Channel closed prematurely|SDK worker disconnected|StatusCode.UNAVAILABLE")
"""What the runners say when one of their processes is gone."""


def before_start(
    write: Write, options: PipelineOptions, files: Sequence[str] = ("failed_output", "report")
) -> None:
    """What can be known before any data is read: the outputs, the checkpoint, the endpoint.

    Args:
        write: to Mixpanel.
        options: of the pipeline.
        files: the options that name files to be written.

    Raises:
        SettingError, DestinationError: what is wrong.
    """
    own = options.view_as(MixpanelOptions)
    elsewhere = runs_remotely(options)
    for name in files:
        if path := getattr(own, name):
            # The launcher writes the report itself.
            check_output(name, path, elsewhere and name != "report")
    if not elsewhere:
        write.claim_checkpoint()
    elif own.checkpoint:
        check_output("checkpoint", own.checkpoint, elsewhere)
    if own.preflight:
        for answer in write.preflight():
            print(f"Preflight: {answer.said}")


def keep_books(result: WriteResult, failed: Any, options: PipelineOptions) -> None:
    """Checks the accounting, keeps and sums up the failed records, and sums up the requests where
    a report is wanted.

    Args:
        result: of the write.
        failed: PCollection of `FailedRecord`: the write's, and those of the source.
        options: of the pipeline.
    """
    own = options.view_as(MixpanelOptions)
    prefix = own.failed_output
    result | "Accounting" >> CheckAccounting()
    if own.report:
        result.receipts | "Summarize requests" >> SummarizeRequests()
    failed | "Summarize failures" >> SummarizeFailures()
    if prefix:
        (
            failed
            | "As JSON" >> beam.Map(FailedRecord.to_json).with_output_types(str)
            | "Write failed"
            >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl", skip_if_empty=True)
        )


def run_in_this_process(options: PipelineOptions) -> None:
    """Makes the DirectRunner, chosen or by default, the one that runs in this process.

    By that name Beam first tries to fetch and start Prism, which takes a second where there is
    no network, and twice the time and memory where there is. --runner=PrismRunner asks for it.
    """
    direct = options.view_as(DirectOptions)
    if (options.view_as(StandardOptions).runner or "DirectRunner") != "DirectRunner":
        return
    if direct.direct_num_workers == 1 and direct.direct_running_mode == "in_memory":
        options.view_as(StandardOptions).runner = _IN_PROCESS


def run(pipeline: beam.Pipeline, total: Callable[[], int | None] = lambda: None) -> int:
    """Runs the graph and gives the exit code. A remote job is launched and not waited for.

    Args:
        pipeline: as built.
        total: counts the records that there are to read, for the progress bar.
    """
    own = pipeline.options.view_as(MixpanelOptions)
    started = time.time()
    try:
        if runs_remotely(pipeline.options):
            return _launch(pipeline)
        # The launcher prints them; elsewhere the log is where people look.
        logging.getLogger("mixpanel_sink.report.failures").setLevel(logging.WARNING)
        for name in ("failure_log", "accounting"):
            logging.getLogger(f"mixpanel_sink.report.{name}").setLevel(logging.ERROR)
        with _known_errors_once(), progress.shown(own.progress, quota_of(own), total):
            result = pipeline.run()
            result.wait_until_finish()
    except (Exception, KeyboardInterrupt) as error:  # runners wrap both, each in its own way
        if interrupted(error):
            sys.stderr.write(f"\nInterrupted. {_so_far(own)}\n")
            return EXIT_INTERRUPTED
        known = job_error(error)
        if known is None:
            _LOGGER.error("The runner's own words:", exc_info=error)
            known = _runner_error(error)
        # In one piece, on a line of its own: the runner's threads may be writing tracebacks.
        sys.stderr.write(f"\nError: {known}\n{_so_far(own)}\n")
        return EXIT_FAILED
    books, failures = read_books(result), read_summaries(result)
    counters = {**read_counters(result), **_booked(books)}
    refused = read_texts(result, "projects_refused")
    balanced = print_accounting(counters, own.failed_output, failures)
    print_projects(books, refused)
    if own.report:
        report = _report(result, pipeline.options, started, counters, failures)
        try:
            write_report(own.report, report)
        except OSError as error:  # such as a disk that is full by now; Beam's are of this class too
            print(f"Error: the report {own.report} could not be written: {error}", file=sys.stderr)
            return EXIT_FAILED
        print(f"  Report: {own.report}")
    if not balanced or refused or any(counters.get(name) for name in _UNREAD):
        return EXIT_FAILED
    if counters.get("records_failed") and not counters.get("events_accepted"):
        print("Error: no record was accepted; the failures above say why.", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _booked(books: Sequence[tuple[str, Totals]]) -> dict[str, int]:
    """The counters that `CheckAccounting` knows better, since it counts elements: of a counter that
    two bundles bring up at the same time, Prism drops one bundle's count."""
    if not books:
        return {}
    total = functools.reduce(Totals.plus, (totals for _, totals in books))
    return {
        "records_read": total.read,
        "events_accepted": total.accepted,
        "records_failed": total.failed,
    }


def _so_far(own: Any) -> str:
    """What a job that failed has done, as far as this process knows, and how to go on."""
    counts = live_counts().counts()
    accepted, requests = counts.get("events_accepted", 0), counts.get("requests", 0)
    if not requests:
        return f"Nothing was accepted so far, as far as this process knows. {_once_more(own)}"
    # What has not come back from the senders yet is in none of the counts.
    return (
        f"Sent so far from this process, at least: {accepted:,} accepted in {requests:,} requests. "
        f"{_once_more(own)}"
    )


def _once_more(own: Any) -> str:
    """How to go on, and what that costs."""
    again = "To go on, run the same command again; "
    if own.checkpoint:
        return f"{again}batches that were accepted are not sent again."
    if endpoint_of(own).repeats_safely:
        return f"{again}what was accepted is not doubled. (--checkpoint saves sending it again.)"
    return (
        "Run again, it would send every update once more: those that add, append or remove would "
        "count twice. With --checkpoint it would not."
    )


def _launch(pipeline: beam.Pipeline) -> int:
    """Hands the graph on, and does not wait for the job."""
    if pipeline.options.view_as(MixpanelOptions).report:
        print(
            "--report is not written: only a run that is waited for has one. The job's own page "
            "shows the same counters.",
            file=sys.stderr,
        )
    result = pipeline.run()
    template = pipeline.options.view_as(GoogleCloudOptions).template_location
    # A template, which is also what a Flex Template's launcher asks for, is no job yet.
    print(f"Template staged: {template}" if template else f"Job launched: {result.job_id()}")
    return EXIT_OK


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """An empty pipeline, whose workers cache state: unless asked, Beam's ask the runner for a
    lane's state once for every chunk.

    Raises:
        SettingError: if Beam refuses the options.
    """
    worker = options.view_as(WorkerOptions)
    worker.max_cache_memory_usage_mb = worker.max_cache_memory_usage_mb or _STATE_CACHE_MB
    try:
        return beam.Pipeline(options=options)
    except ValueError as error:
        said = " ".join(str(error).split()).removeprefix("Pipeline has validations errors: ")
        raise errors.SettingError(f"Beam does not take these options: {said}") from None


def _report(
    result: Any,
    options: PipelineOptions,
    started: float,
    counters: Mapping[str, int],
    failures: Sequence[FailureSummary],
) -> RunReport:
    given = options.view_as(MixpanelOptions).get_all_options(drop_default=True)
    return RunReport(
        title=f"Mixpanel import of {given.get('input', '')}",
        started=started,
        seconds=time.time() - started,
        settings={name: str(value) for name, value in given.items() if name not in _REFERENCES},
        counters=counters,
        failures=[each._asdict() for each in failures],
        requests=read_requests(result),
        quota=quota_of(options.view_as(MixpanelOptions)),
    )


def write_report(path: str, report: RunReport) -> None:
    """Writes run.html and run.json, locally or to any file system that Beam knows."""
    stem = path.removesuffix(".html").removesuffix(".json")
    for name, text in ((f"{stem}.html", report.to_html()), (f"{stem}.json", report.to_json())):
        if "://" not in name:
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
            continue
        with FileSystems.create(name) as remote:
            remote.write(text.encode())


@contextlib.contextmanager
def _known_errors_once() -> Iterator[None]:
    """Keeps Beam from logging, with a traceback, what `run` says in one sentence at the end."""

    def is_new(record: logging.LogRecord) -> bool:
        if not record.name.startswith("apache_beam"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        said = record.getMessage()
        known = error is not None and (interrupted(error) or job_error(error) is not None)
        return not (known or "KeyboardInterrupt" in said or _RAISED.search(said))

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)


def interrupted(error: BaseException) -> bool:
    """Whether it is a Ctrl-C, or what a runner made of one."""
    return any(
        isinstance(seen, KeyboardInterrupt) or str(seen).startswith("KeyboardInterrupt")
        for seen in _chain(error)
    )


def job_error(error: BaseException) -> str | None:
    """Our own sentence out of what a runner raised; None if the fault is not one of ours."""
    for seen in _chain(error):
        if isinstance(seen, errors.MixpanelSinkError):
            return str(seen).split(" [while running")[0].strip()
        found = _RAISED.findall(str(seen))
        if found:
            return str(found[-1]).strip().replace("\\n", " ").strip("'\"")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _runner_error(error: BaseException) -> str:
    """A sentence for what is not the sink's fault, in one line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if _LOST.search(said):
        return "A worker or the runner ended before the job did. Was it killed, or out of memory?"
    return f"the runner failed ({said}). Its log is above."


def print_accounting(
    counters: Mapping[str, int],
    failed_output: str | None,
    failures: Sequence[FailureSummary] = (),
) -> bool:
    """Prints a run's books and says whether they balance."""
    read = counters.get("records_read", 0)
    accepted = counters.get("events_accepted", 0)
    failed = counters.get("records_failed", 0)
    requests = counters.get("requests", 0)
    known = counters.get("events_known", 0)
    balanced = read == accepted + failed
    lines = [
        ("files", _count(counters.get("files_read", 0))),
        ("records read", _count(read)),
        ("events accepted", _count(accepted)),
        *([("  known to checkpoint", _count(known))] if known else []),
        ("records failed", _count(failed)),
    ]
    by_reason = {
        name.removeprefix("failed_"): value
        for name, value in counters.items()
        if name.startswith("failed_") and value
    }
    lines += [(f"  {reason}", _count(n)) for reason, n in sorted(by_reason.items())]
    for name, words in {**_UNREAD, "lines_skipped": "lines skipped"}.items():
        if count := counters.get(name, 0):
            lines.append((words, _count(count)))
    statuses = ", ".join(
        f"{name.removeprefix('requests_')}: {value}"
        for name, value in sorted(counters.items())
        if name.startswith("requests_") and value
    )
    lines.append(("requests", _count(requests) + (f"  ({statuses})" if statuses else "")))
    if retries := counters.get("retries", 0):
        lines.append(("  retries", _count(retries)))
    if sent := counters.get("sent_bytes", 0):
        raw = counters.get("raw_bytes", 0)
        lines.append(("bytes sent", f"{_count(sent)}  ({_count(raw)} as JSON)"))
    lines.append(("seconds throttled", _count(counters.get("cumulativeThrottlingSeconds", 0))))
    if long := counters.get("long_strings", 0):
        lines.append(("strings over 255 bytes", f"{_count(long)}  (Mixpanel cuts them)"))
    if reserved := counters.get("reserved_properties", 0):
        lines.append(("reserved properties", f"{_count(reserved)}  (rename them; see failures.md)"))
    if rounded := counters.get("rounded_decimals", 0):
        lines.append(("decimals rounded", f"{_count(rounded)}  (to 64-bit floats)"))
    print("\nAccounting")
    for name, value in lines:
        number, _, remark = value.partition("  ")
        print(f"  {name:<24}{number:>12}  {remark}".rstrip())
    sign = "=" if balanced else "is not"
    print(f"  {_count(read)} read {sign} {_count(accepted)} accepted + {_count(failed)} failed")
    for line in describe(failures):
        print(line)
    if failed and failed_output:
        print(f"  Failed records: {failed_output}*.jsonl")
    elif failed:
        print("  Failed records were not kept; --failed_output PREFIX writes them.")
    if not balanced:
        print("Error: the books do not balance; do not trust this run.", file=sys.stderr)
    return balanced


def print_projects(books: Sequence[tuple[str, Totals]], refused: Collection[str]) -> None:
    """Prints the books of each of several projects, and says which took nothing more."""
    if len(books) > 1:
        print("\nProjects")
    for name, totals in books if len(books) > 1 else ():
        print(
            f"  {name or '(of no known project)':<24} {_count(totals.read)} read = "
            f"{_count(totals.accepted)} accepted + {_count(totals.failed)} failed, "
            f"{_count(totals.requests)} requests{'  REFUSED' if name in refused else ''}"
        )
    if refused:
        print(
            f"Error: {', '.join(sorted(refused))} took nothing more: see project_refused above. "
            "The other projects have their records. Mend the cause, then replay failed records.",
            file=sys.stderr,
        )


def _count(number: int) -> str:
    return f"{number:,}"
