"""Reads YAML safely: it runs no code, refuses repeated keys, and bounds what aliases expand to."""

from __future__ import annotations

import functools
from typing import Any

from mixpanel_sink.errors import MappingError


def load_yaml(text: str, what: str = "mapping") -> Any:
    """The value of YAML text. `what` names it in messages.

    Raises:
        MappingError: if it is not valid YAML or repeats a key, with the line.
    """
    import yaml

    try:
        loader = _yaml_loader(what)(text)  # a SafeLoader: it runs no code
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _expanded(node, {}) > _MOST_NODES:
                raise MappingError(
                    f"The {what} has over {_MOST_NODES:,} values when its aliases (*name) are "
                    "expanded. Make it smaller."
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise MappingError(
            f"The {what} is nested too deeply, or contains itself. Flatten it."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise MappingError(f"The {what} is not valid YAML{where}. Correct that line.") from None


_MOST_NODES = 100_000


def _expanded(node: Any, known: dict[int, float]) -> float:
    """How many values a YAML node has when its aliases are expanded: aliases of aliases make
    billions out of a few lines, at the first look at the values."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # for itself, within itself
        children: Any = node.value if isinstance(node.value, list) else ()
        parts = (part for child in children for part in _parts(child))
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


def _parts(child: Any) -> tuple[Any, ...]:
    return child if isinstance(child, tuple) else (child,)


@functools.cache
def _yaml_loader(what: str) -> Any:
    """A safe loader that refuses a key given twice, of which YAML would take the last."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def make(loader: Any, node: Any) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value.__hash__ and key.value in seen:
                mark = key.start_mark
                raise MappingError(
                    f"The {what} has the key {key.value!r} twice (line {mark.line + 1}). "
                    "Remove one."
                )
            if key.value.__hash__:
                seen.add(key.value)
        return loader.construct_yaml_map(node)

    Loader.add_constructor("tag:yaml.org,2002:map", make)
    return Loader
