"""What an option is, and the kinds of values that options take. The table is in options.py."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mixpanel_sink.api.plain import plain
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.names import named, near
from mixpanel_sink.settings.quota import PATTERN, Quota

_REFERENCE = (
    r"^(gcpsecret:projects/[^/]+/secrets/[^/]+(/versions/[^/]+)?"
    r"|file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$"
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an option takes.

    Attributes:
        metavar: what stands for a value in help.
        type: of the value where it does not come as text: `str`, `int`, `float`, `bool`, or
            `tuple` for several texts.
        parse: text to value; raises ValueError, whose message completes "--name is 'x'; ...".
        regex: of texts that the Dataflow template takes.
        form: the template's type of parameter.
        choices: what may be given, with a label each.
        alone: the text that the option's bare name stands for; None if it needs a value.
        note: added to the help in forms.
        blanks: whether blanks at its ends belong to it.
    """

    metavar: str
    type: type = str
    parse: Callable[[str], Any] = str
    regex: str = r"^.+$"
    form: str = "TEXT"
    choices: tuple[tuple[str, str], ...] = ()
    alone: str | None = None
    note: str = ""
    blanks: bool = False

    def read(self, given: Any) -> Any:
        """The value of a text, or of what is a value already.

        Raises:
            ValueError: what it must be.
        """
        if isinstance(given, str):
            # Line ends and a byte order mark come from files; other blanks may be meant.
            text = given.strip("\r\n\ufeff")
            return self.parse(text if self.blanks else text.strip())
        given = plain(given)
        if self.type is tuple and not isinstance(given, bytes):
            given = tuple(given) if isinstance(given, list | tuple) else given
        number = self.type is float and isinstance(given, int)
        if isinstance(given, bool) != (self.type is bool) or not (
            isinstance(given, self.type) or number or isinstance(given, Quota | datetime.date)
        ):
            raise ValueError(f"it must be {_CALLED[self.type]}.")
        return given

    def show(self, value: Any) -> Any:
        """A value as a plain one: text, number or switch; None for none."""
        if isinstance(value, tuple):
            return ",".join(value) or None
        return value if isinstance(value, str | int | float | bool | None) else str(value)


_CALLED: dict[type, str] = {
    str: "text", int: "a number", float: "a number", bool: "true or false", tuple: "a list of texts"
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        field: of `Settings`.
        name: as users write it, with underscores; hyphens are accepted as well.
        kind: what it takes.
        default: the value without it.
        help: one or two sentences.
        group: what it belongs to.
        faces: who has it: "init", "import", "check", "verify", "replay", "export", "stream" and
            "doctor" are commands; "template" is Dataflow's, "rows" Beam YAML and other languages.
        label: a short name for forms.
        metavar: what stands for its value in help.
        short: a letter, for the command line.
        python: the keyword argument in Python that has the same effect.
        beam: its name beside Beam's own options, if one of those has the name.
    """

    field: str
    name: str
    kind: Kind
    default: Any
    help: str
    group: str
    faces: tuple[str, ...]
    label: str
    metavar: str
    short: str = ""
    python: str = ""
    beam: str = ""

    @property
    def spelled(self) -> str:
        """Its name as messages and help have it: with hyphens."""
        return self.name.replace("_", "-")

    @property
    def beside_beam(self) -> str:
        """Its name among Beam's options."""
        return self.beam or self.name


def option(default: Any, kind: Kind, group: str, faces: tuple[str, ...], **more: Any) -> Any:
    """A field of `Settings`, which is an option; `more` as in `Option`."""
    return dataclasses.field(
        default=default,
        repr=kind is not NOTIFY,  # the URL may be a secret
        metadata={"kind": kind, "group": group, "faces": faces, **more},
    )


def option_of(field: dataclasses.Field[Any]) -> Option:
    """The option that a field declares."""
    more = {"name": field.name, "metavar": field.metadata["kind"].metavar, **field.metadata}
    return Option(field=field.name, default=field.default, **more)


def values_of(options: Iterable[Option], given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What is given, by the fields of the options.

    Args:
        options: that there are.
        given: texts, or values of the option's own type, by name; None is "not given".
        prefix: of names in messages.

    Raises:
        SettingError: for a name that is unknown, or a value that cannot be read.
    """
    values: dict[str, Any] = {}
    known = {each.name: each for each in options}
    for name, value in given.items():
        if (each := known.get(name)) is None:
            raise SettingError(f"The setting {name!r} is unknown.{near(name, list(known))}")
        if value is None or value == "":
            continue
        try:
            values[each.field] = each.kind.read(value)
        except SettingError:
            raise
        except ValueError as error:
            raise SettingError(f"{named(prefix, name)} is {value!r}; {error}") from None
    return values


def names_of(given: str) -> tuple[str, ...]:
    """Names or patterns with commas between."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


_CLOUD_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")


def is_cloud_region(text: str) -> bool:
    """Whether it is a region of Google Cloud's, such as europe-west1, and none of Mixpanel's."""
    return _CLOUD_REGION.fullmatch(text) is not None


def choice(metavar: str, **labels: str) -> Kind:
    """One of several words, each with its label."""
    *most, last = labels

    def parse(text: str) -> str:
        if (word := text.lower()) not in labels:
            raise ValueError(f"it must be {', '.join(most)} or {last}.")
        return word

    return Kind(
        metavar,
        parse=parse,
        regex=f"^({'|'.join(labels)})$",
        form="ENUM",
        choices=tuple(labels.items()),
    )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("it must be true or false.")
    return text.lower() == "true"


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it must be a whole number.") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it must be a number of seconds.") from None


def _day(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ValueError("give a day such as 2024-05-31.") from None


def _notify(text: str) -> str:
    if not re.match(r"(https?://|env:|file:|gcpsecret:)\S", text):
        # Not ValueError, whose message would repeat the text: it may be a secret.
        raise SettingError(
            "--notify must be a URL with https://, or a reference to one: env:NAME, file:PATH or "
            "gcpsecret:projects/P/secrets/S."
        )
    return text


def _sample(text: str) -> str:
    if text != "all" and not (text.isdecimal() and int(text) > 0):
        raise ValueError("give a number of rows, or all.")
    return text


def _path(text: str) -> str:
    """A path whose ~ a shell has left alone, as in --mapping=~/events.yaml."""
    return os.path.expanduser(text) if text.startswith("~") else text


TEXT = Kind("TEXT", blanks=True)
NAME = Kind("NAME", regex=r"^\S+$")
COLUMN = Kind("COLUMN", blanks=True)
NAMES = Kind("NAME,…", tuple, names_of, regex=r"^[^,]+(,[^,]+)*$")
ID = Kind("N", regex=r"^[0-9]+$")
NUMBER = Kind("N", int, _whole, regex=r"^[1-9][0-9]*$", form="NUMBER")
SECONDS = Kind("SEC", float, _seconds, regex=r"^[0-9]+(\.[0-9]+)?$")
FLAG = Kind("", bool, _flag, regex=r"^(true|false)$", form="BOOLEAN", alone="true")
DAY = Kind("DAY", parse=_day, regex=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
SAMPLE = Kind("ROWS", parse=_sample)
DRY_RUN = Kind("ROWS", parse=_sample, alone="10000")
QUOTA = Kind("RATE", parse=Quota.parse, regex=PATTERN)
NOTIFY = Kind("URL", parse=_notify)
URL = Kind("URL", regex=r"^https?://\S+$")
FILES = Kind(
    "FILES", tuple, names_of, regex=r"^\s*gs://[^,]+(,\s*gs://[^,]+)*$|^(bq|mixpanel)://[^,]+$"
)
FILE = Kind("FILE", parse=_path, blanks=True, regex=r"^gs://.+$", form="GCS_READ_FILE")
FOLDER = Kind("FOLDER", parse=_path, blanks=True, regex=r"^gs://[^/]+/.+$", form="GCS_WRITE_FOLDER")
PREFIX = Kind("PREFIX", parse=_path, blanks=True, regex=r"^gs://[^/]+/.+$")
REFERENCE = Kind(
    "REF",
    regex=_REFERENCE,
    note="A reference, never the secret itself: gcpsecret:projects/P/secrets/S[/versions/V] on "
    "Dataflow.",
)
