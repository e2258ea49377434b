"""Errors of a job: MXS1 settings, MXS2 credentials and endpoint, MXS3 files, MXS4 runs."""

from __future__ import annotations

from mixpanel_sink.codes.code import Code

ERRORS: tuple[Code, ...] = (
    Code(
        "MXS101", "option-missing",
        "The command needs an option that was not given.",
        "Give the option that the message names; --help shows all of them.",
        (" is missing; --help shows all options",),
    ),
    Code(
        "MXS102", "option-unknown",
        "Neither the command nor a runner on this machine has an option of that name. Nothing was "
        "sent, since a misspelt privacy option must not be ignored.",
        "Correct its spelling. Put an option that only a remote runner knows after --.",
        ("The option --", "; it is for "),
    ),
    Code(
        "MXS103", "wrong-value",
        "The value of an option or a setting cannot be used.",
        "Give a value of the kind that the message describes.",
        error="SettingError",
    ),
    Code(
        "MXS104", "quota-unreadable",
        "The quota cannot be understood, or would let nothing through.",
        "Write it as 60/hour, 600/minute, 30000 events/second, page, reference or none.",
        (
            "lets nothing through", "A quota counts", "lanes cannot share a quota of",
            " cannot be read. Write it as ",
        ),
    ),
    Code(
        "MXS105", "quotas-differ",
        "Two sinks in one pipeline write to the same project, but name different quotas.",
        "Name the same quota in each, or write through one sink.",
        ("write to one project",),
    ),
    Code(
        "MXS111", "mapping-wrong",
        "The mapping is not valid YAML, has an unknown key, or contradicts itself.",
        "Correct what the message names. `mixpanel-sink init FILE` writes a mapping to start with.",
        error="MappingError",
    ),
    Code(
        "MXS112", "mapping-does-not-fit",
        "The mapping names a column that the input does not have.",
        "Correct its name. The message lists the input's columns and the most similar one.",
        (" Its columns are: ",),
    ),
    Code(
        "MXS113", "column-to-hide-misspelt",
        "A column to drop or to hash is not in the input, but one with a similar name is: what "
        "you want to hide would have been sent.",
        "Correct the name in --drop-properties or --hash-properties.",
        ("which the input does not have",),
    ),
    Code(
        "MXS201", "credentials-missing",
        "No credentials were given, or only a part of them.",
        "Give --service-account with --service-account-secret and --project-id, or --api-secret, "
        "or --project-token; or set MIXPANEL_API_SECRET.",
        ("No credentials", "it is the number in Mixpanel's project"),
    ),
    Code(
        "MXS202", "secret-not-found",
        "A reference to a secret leads nowhere, or is the secret itself.",
        "Write env:NAME, file:PATH or gcpsecret:projects/P/secrets/S, and make sure that it exists "
        "where the workers run.",
        ("is not set here", "must be a reference"),
        error="CredentialsError",
    ),
    Code(
        "MXS203", "credentials-refused",
        "Mixpanel does not accept the credentials. One request was sent, and nothing was stored.",
        "Compare them with Project Settings. The project may live in another region: --region eu "
        "or in.",
        ("does not accept the",),
        error="AuthenticationError",
    ),
    Code(
        "MXS204", "no-connection",
        "There is no connection to the endpoint. Nothing was sent.",
        "Check network, proxies, and --endpoint or --region; `mixpanel-sink doctor` tests them.",
        (
            "is the server running, and is the port right?", "could not be reached",
            "ALL_PROXY names cannot be used",
        ),
    ),
    Code(
        "MXS205", "not-mixpanel",
        "Something other than Mixpanel answers at the endpoint: a redirect, a login page, a proxy.",
        "Give the final address as --endpoint, or --region alone for Mixpanel's own.",
        (
            "answered with a redirect", "has accepted nothing yet",
        ),
        error="DestinationError",
    ),
    Code(
        "MXS301", "input-unreadable",
        "A file or a table of the input is missing, damaged, or may not be read.",
        "Check the path or pattern, and that this machine and the workers have access to it.",
        ("No file matches",),
        error="InputError",
    ),
    Code(
        "MXS302", "format-unknown",
        "Neither the name nor the content of the first file tells its format.",
        "Choose one with --format: parquet, csv, tsv, jsonl, avro, orc, arrow or excel.",
        ("tells its format",),
    ),
    Code(
        "MXS303", "input-unreachable",
        "The connection to the storage or service that holds the input failed. Nothing was sent.",
        "Check the network and the address, and run the same command again.",
        ("Check the network and the address, and run the same command again",),
    ),
    Code(
        "MXS311", "output-not-writable",
        "Failed records, the report, the checkpoint or another file cannot be written to that "
        "place. Where that shows before the run, nothing was sent.",
        "Give a folder that you can write to, with space left. If the workers run elsewhere, use gs://BUCKET/PATH.",
        (
            "cannot be written", "where it would be lost with them", "no file system is known for",
            "might write over the input", "could not be written",
        ),
        error="OutputError",
    ),
    Code(
        "MXS312", "checkpoint-of-another-job",
        "The checkpoint belongs to another input, mapping or project, or cannot be used.",
        "Give another folder, or run the job that the checkpoint belongs to.",
        error="CheckpointError",
    ),
    Code(
        "MXS401", "endpoint-down",
        "The endpoint accepted none of the last batches, although each was retried.",
        "Run the same command again when it has recovered. What has arrived is not doubled.",
        ("accepted none of the last",),
    ),
    Code(
        "MXS402", "pause-too-long",
        "Mixpanel asks for a longer pause than the job may make.",
        "Run it again after that pause, or raise --throttled-seconds. Another job may be using the "
        "quota.",
        ("asks to wait for",),
    ),
    Code(
        "MXS403", "nothing-accepted",
        "Every record failed.",
        "Read the failures above; each reason has an example. `mixpanel-sink check` shows the same "
        "without sending anything.",
        ("no record was accepted",),
    ),
    Code(
        "MXS404", "accounting-differs",
        "Records read are not accepted + failed, which is a bug in the runner or in the sink.",
        "Do not trust the run. Check it with `mixpanel-sink verify`, and run it again: nothing is "
        "doubled.",
        ("do not trust this run",),
        error="AccountingError",
    ),
    Code(
        "MXS405", "project-took-nothing-more",
        "One of several projects refused its records. The other projects went on.",
        "Fix what the failed records of that project name, then replay them.",
        ("took nothing more",),
    ),
    Code(
        "MXS406", "records-failed",
        "At least one record failed, and the job was told to fail in that case.",
        'Read the failed records, or leave out on_failure="fail".',
        error="FailedRecordError",
    ),
    Code(
        "MXS407", "worker-lost",
        "A worker or the runner ended before the job did.",
        "Check whether it was killed or ran out of memory, and run the same command again.",
        ("A worker or the runner ended",),
    ),
    Code(
        "MXS499", "job-failed",
        "The job failed for a reason that the sink does not know.",
        "Read the runner's log above the message.",
        error="MixpanelSinkError",
    ),
)  # fmt: skip
