"""Updates of user and group profiles: what makes one valid.

Updates are kept as they came. Applying their operations to profiles belongs here too.
"""

from typing import Any

OPERATIONS = {
    "engage": frozenset(
        ("$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset", "$delete")
    ),
    "groups": frozenset(("$set", "$set_once", "$union", "$remove", "$unset", "$delete")),
}
_IDENTITY = {"engage": ("$distinct_id",), "groups": ("$group_key", "$group_id")}


def check(kind: str, update: Any) -> str | None:
    """Why the update is not valid, or None; `kind` is ``engage`` or ``groups``."""
    if not isinstance(update, dict):
        return "an update must be a JSON object"
    if not isinstance(update.get("$token"), str):
        return "'$token' is required"
    for name in _IDENTITY[kind]:
        if name not in update:
            return f"'{name}' is required"
    if not OPERATIONS[kind] & update.keys():
        return f"an update needs an operation: one of {', '.join(sorted(OPERATIONS[kind]))}"
    return None
