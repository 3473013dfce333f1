"""The request of a task, frozen when it first runs.

Airflow renders templates again whenever a task resumes or is tried again, so that ``now()``, ``uuid4()`` or a
random seed in one of them would ask and pay for another video each time. So the first rendering
counts: the trigger carries it, and Airflow's task state store (3.3 and later) keeps it for a retry. A
cleared task starts again: its templates count as they render then.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoReceiptUnavailableError, VeoRequestError
from veo_provider.receipts.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

KEY = "veo_request"
"""Of the rendering in the task state store."""


def freeze(
    context: Context, rendered: Mapping[str, Any], resumed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the template fields as the task rendered them when it first ran.

    :param rendered: the template fields as they render now.
    :param resumed: the same as the trigger's event has them; None if the task does not resume.
    :raises VeoReceiptUnavailableError: the first rendering cannot be read now, or cannot be kept.
    """
    now = plain(rendered)
    if resumed is not None:
        return _first(now, resumed)
    store, by = context.get("task_state_store"), tries_of(context)
    if store is None or by is None:
        return now
    try:
        kept = json.loads(str(store.get(KEY) or "{}"))
        if kept and by.continues(kept["first_try"], kept.get("most_tries")):
            return _first(now, kept["fields"])
        mark = {"first_try": by.try_number, "most_tries": by.most_tries}
        store.set(KEY, json.dumps({**mark, "fields": now}))
    # Airflow's API server or database: each has errors of its own.
    except Exception as error:
        raise VeoReceiptUnavailableError(
            f"The request of the first try cannot be kept in Airflow's task state store: {error}."
        ) from error
    return now


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON carries them, so that two renderings can be compared.

    :raises VeoRequestError: JSON cannot carry one, such as a mapping with tuples for keys.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(fields), default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise VeoRequestError(f"JSON cannot carry the value of a parameter: {error}.") from error
    return plain


def tries_of(context: Context) -> Attempt | None:
    """Return which try runs, without its task; None if Airflow does not say, or did not start it."""
    instance, task = context.get("ti"), context.get("task")
    most, current = getattr(instance, "max_tries", None), getattr(instance, "try_number", None)
    if not isinstance(most, int) or not isinstance(current, int) or task is None or most < 0:
        return None
    # Clearing a task adds its retries to the tries that it had: so does Airflow count them itself.
    first = most - (task.retries or 0) + 1
    # This is wrong if the retries were edited since it was cleared: most_tries comes first.
    return Attempt("", current, first_try=first if 1 <= first <= current else None, most_tries=most)


def _first(now: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first rendering, and warn of what renders to something else now."""
    different = sorted(name for name, value in first.items() if name in now and now[name] != value)
    if different:
        log.warning(
            "%s rendered to something else than when the task first ran. The values of that time are used; "
            "clear the task to use the new ones.",
            " and ".join(different),
        )
    return {**now, **first}
