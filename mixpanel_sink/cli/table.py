"""Commands from the table of options."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer

from mixpanel_sink.cli.common import fail
from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs.following import CREDENTIALS_FROM_ENVIRONMENT
from mixpanel_sink.settings.option import FLAG, Option, names_of
from mixpanel_sink.settings.options import Settings, options_of
from mixpanel_sink.settings.options_to_read import CREDENTIALS


def command(face: str, function: Callable[..., None]) -> Callable[..., None]:
    """The function for typer: its parameter `settings` becomes the options of the face.

    Its other parameters stay; they are options of this command that are not in the table.
    """
    own = options_of(face)
    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(function, eval_str=True).parameters.values():
        given = [_parameter(option) for option in own] if each.name == "settings" else [each]
        parameters += [given_one.replace(kind=given_one.KEYWORD_ONLY) for given_one in given]

    def run(**given: Any) -> None:
        texts = {option.name: given.pop(option.field) for option in own}
        if isinstance(texts.get("input"), list):
            texts["input"] = files_of(texts["input"])
        try:
            settings = Settings.of(_with_credentials(texts), face)
        except SettingError as error:
            fail(str(error))
        function(settings=settings, **given)

    typed: Any = run
    typed.__signature__ = inspect.Signature(parameters)
    typed.__annotations__ = {each.name: each.annotation for each in parameters}
    typed.__doc__ = function.__doc__
    return run


def files_of(words: Sequence[str]) -> tuple[str, ...]:
    """The files and globs of a command line. Commas separate them, too, but for the comma in the
    name of a file that is there."""
    each = ((word,) if os.path.exists(word) else names_of(word) for word in words)
    return tuple(itertools.chain.from_iterable(each))


def extras_of(function: Callable[..., None]) -> set[str]:
    """The names of a command's options that are not in the table, with underscores."""
    names = {"help"}
    for each in inspect.signature(function, eval_str=True).parameters.values():
        for part in get_args(each.annotation)[1:]:
            # Of an annotation's names, typer holds the first one as a default.
            declared = (getattr(part, "default", None), *(getattr(part, "param_decls", None) or ()))
            named = [str(name) for name in declared if str(name).startswith("--")]
            names |= {name[2:].replace("-", "_") for name in named}
    return names


def _parameter(option: Option) -> inspect.Parameter:
    """An option of the table as a parameter that typer understands."""
    kind: Any = str | None
    default: Any = None
    if option.name == "input":
        kind = Annotated[
            list[str], typer.Argument(help=option.help, metavar="FILES…", show_default=False)
        ]
        default = inspect.Parameter.empty
    else:
        names = [f"--{option.name.replace('_', '-')}"]
        names += [f"-{option.short}"] if option.short else []
        plain = option.kind is FLAG
        default = False if plain else None
        kind = Annotated[
            bool if plain else str | None,
            typer.Option(
                *names,
                help=option.help,
                metavar=None if plain else option.metavar,
                rich_help_panel=option.group,
                show_default=False,
            ),
        ]
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
    )


def _with_credentials(texts: dict[str, Any]) -> dict[str, Any]:
    """The texts, with the usual environment variable if no credentials are given. With several
    projects, their file has them."""
    given = {each.name for each in options_of("doctor") if each.group == CREDENTIALS}
    if "api_secret" not in texts or texts.get("projects") or any(texts[name] for name in given):
        return texts
    usual = list(CREDENTIALS_FROM_ENVIRONMENT.items())
    if texts.get("endpoint_kind", "import") not in (None, "import"):  # which take the token alone
        usual.reverse()
    for name, variable in usual:
        if os.environ.get(variable):
            return {**texts, name: f"env:{variable}"}
    return texts
