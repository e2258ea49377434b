"""The files that are made from tables: the Dataflow templates' metadata, docs/options.md and
docs/errors.md.

    python -m mixpanel_sink.jobs.reference

writes them, in the folder of a clone. No Beam here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.codes import CODES
from mixpanel_sink.settings.option import FLAG, Option
from mixpanel_sink.settings.options import COMMANDS, OPTIONS, options_of

FOLDER = pathlib.Path("configs/flex_template")
METADATA = FOLDER / "metadata.json"
PAGE = pathlib.Path("docs/options.md")
ERRORS = pathlib.Path("docs/errors.md")
_ONLY_HERE = ("progress", "report", "notify", "dry_run")
"""Options of commands that only make sense if something waits for the job."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A Flex Template of the one image that there is.

    Attributes:
        job: what `jobs.template` runs.
        face: whose options it has.
        name, about: for people.
        required: options that must be given.
        regexes: of options that take something else here.
        choices: of options that take less here.
        streaming: whether its job never ends by itself.
    """

    job: str
    face: str
    name: str
    about: str
    required: tuple[str, ...] = ("input", "mapping")
    regexes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    streaming: bool = False

    @property
    def path(self) -> pathlib.Path:
        """The file of its metadata."""
        return METADATA if self.job == "import" else FOLDER / f"{self.job}.json"

    @property
    def options(self) -> tuple[Option, ...]:
        """The template's options, besides the job."""
        return tuple(each for each in options_of(self.face) if each.name not in _ONLY_HERE)


TEMPLATES = (
    Template(
        "import",
        "template",
        "Files or BigQuery to Mixpanel",
        "Sends the records of Parquet, CSV, JSON lines, Avro, ORC or Arrow files in Cloud Storage, "
        "or of a BigQuery table or query, to Mixpanel as events or profiles, each once, within the "
        "project's rate limit.",
    ),
    Template(
        "profiles",
        "template",
        "Profiles to Mixpanel",
        "Sets the properties of users or groups in Mixpanel from files in Cloud Storage, or from a "
        "BigQuery table or query, in order, and never applies an update twice.",
        required=("input", "mapping", "endpoint_kind", "project_token"),
        choices={"endpoint_kind": ("engage", "groups")},
    ),
    Template(
        "replay",
        "replay",
        "Failed records to Mixpanel again",
        "Sends records that an earlier job could not send, after what made them fail was fixed. "
        "Each keeps its $insert_id, so that nothing is doubled.",
        required=("input",),
    ),
    Template(
        "stream",
        "stream",
        "Pub/Sub to Mixpanel",
        "Sends JSON messages of Pub/Sub to Mixpanel as events, each once, as they come; those that "
        "cannot be sent go to a dead-letter topic.",
        regexes={
            "input": r"^projects/[^/]+/(subscriptions|topics)/[^/]+$",
            "failed_output": r"^projects/[^/]+/topics/[^/]+$",
        },
        streaming=True,
    ),
    Template(
        "verify",
        "verify",
        "Verify an import to Mixpanel",
        "Reads back what Mixpanel holds and compares it with the files of an import. The job fails "
        "if anything differs; the report's folder has the full lists.",
        required=("input",),
    ),
)
"""Every Flex Template."""
_ABOUT = """\
# Options

Every option, and who has it. This page is made from the table in `mixpanel_sink/settings/options.py` by
`python -m mixpanel_sink.jobs.reference`; do not edit it.

An option has one name. On the command line it is written with hyphens or underscores, as
`--failed-output failed` or `--failed_output=failed`; a switch is on by itself, or takes `=true` or `=false`.
`mixpanel-sink` takes files as words, the pipelines as `--input`. A REF says where a secret is, and is
never the secret itself: `env:NAME`, `file:PATH` or `gcpsecret:projects/P/secrets/S`. Beside Beam's options,
where `--region` is Google Cloud's too, a region of Mixpanel's may also be given as `--mixpanel-region`; in the
template it is called that.

| short | who has it |
|---|---|
| init, check, import, replay, verify, doctor | the command of `mixpanel-sink`; `import`, `replay` and `verify` are also the pipelines in `pipelines/` |
| stream | `pipelines.pubsub_to_mixpanel` |
| template | the Dataflow template, see [dataflow.md](dataflow.md) |
| rows | [Beam YAML](yaml.md), and pipelines in [other languages](cross-language.md) |
| Python | the keyword of `WriteToMixpanel` or its siblings that has the same effect |
"""


def metadata(template: Template = TEMPLATES[0]) -> str:
    """The JSON of a template's metadata."""
    parameters = [_parameter(option, template) for option in template.options]
    listed: dict[str, Any] = {"name": template.name, "description": template.about}
    if template.job != "import":
        parameters.insert(0, _job(template.job))
    if template.streaming:
        listed |= {"streaming": True, "supportsAtLeastOnce": True, "supportsExactlyOnce": True}
    return json.dumps({**listed, "parameters": parameters}, indent=2, ensure_ascii=False) + "\n"


def _job(job: str) -> dict[str, Any]:
    """The parameter that tells the image's entry which job it is; one value only."""
    return {
        "name": "job",
        "label": "Job",
        "helpText": f"What the image runs; {job} for this template, always.",
        "paramType": "TEXT",
        "isOptional": False,
        "regexes": [f"^{job}$"],
        "defaultValue": job,
    }


def _parameter(option: Option, template: Template) -> dict[str, Any]:
    kind = option.kind
    regex = template.regexes.get(option.name, kind.regex)
    choices = kind.choices
    default = option.default
    if only := template.choices.get(option.name):
        choices = tuple(each for each in choices if each[0] in only)
        regex, default = f"^({'|'.join(only)})$", only[0]
    made: dict[str, Any] = {
        "name": option.beside_beam,
        "label": option.label,
        "helpText": f"{option.help} {kind.note}".strip(),
        "paramType": kind.form,
        "isOptional": option.name not in template.required,
        "regexes": [regex],
    }
    shown = "false" if kind is FLAG else kind.show(default)
    if shown is not None:
        made["defaultValue"] = str(shown)
    if choices:
        made["enumOptions"] = [{"value": value, "label": label} for value, label in choices]
    return made


def page() -> str:
    """The text of docs/options.md."""
    parts = [_ABOUT]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        parts.append(f"\n## {group}\n\n| option | what it is for | who has it | Python |")
        parts.append("|---|---|---|---|")
        parts += [_row(option) for option in OPTIONS if option.group == group]
    return "\n".join(parts) + "\n"


def _row(option: Option) -> str:
    short = f", `-{option.short}`" if option.short else ""
    value = f" {option.metavar}" if option.metavar else ""
    name = f"`--{option.spelled}{value}`{short}".replace("|", "\\|")
    who = ", ".join(face for face in (*COMMANDS, "template", "rows") if face in option.faces)
    python = f"`{option.python}`" if option.python else ""
    return f"| {name} | {option.help} | {who} | {python} |"


_ABOUT_ERRORS = """\
# Error codes

Each error and each reason of a [failed record](failures.md) has a code. A run prints it with a link to this page, and
`mixpanel-sink explain MXS511` says the same. A code never changes its meaning. This page is made from the table in
`mixpanel_sink/codes/` by `python -m mixpanel_sink.jobs.reference`; do not edit it.
"""
_HUNDREDS = {
    "1": "Settings and mapping",
    "2": "Credentials and endpoint",
    "3": "Input and output",
    "4": "Runs",
    "5": "Failed records: event, ids and time",
    "6": "Failed records: values",
    "7": "Failed records: profiles and identity",
    "8": "Failed records: sending and reading",
}


def errors_page() -> str:
    """The text of docs/errors.md."""
    parts = [_ABOUT_ERRORS]
    for digit, title in _HUNDREDS.items():
        parts.append(
            f"\n## {title}\n\n| code | name | what it means | what to do |\n|---|---|---|---|"
        )
        parts += [
            f'| <a id="{each.code.lower()}"></a>{each.code} | `{each.name}` | '
            f"{each.meaning} | {each.fix} |"
            for each in CODES
            if each.code[3] == digit
        ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Writes all of these files."""
    for template in TEMPLATES:
        template.path.write_text(metadata(template), encoding="utf-8")
    ERRORS.write_text(errors_page(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {', '.join(str(each.path) for each in TEMPLATES)}, {PAGE}, {ERRORS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
