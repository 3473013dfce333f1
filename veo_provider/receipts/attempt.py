"""Who claims and changes receipts: an attempt, which is one try of one task instance, or a person."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attempt:
    """One try of one task instance.

    :param task_instance: the name of the task instance, without its try.
    :param try_number: Airflow's number of the try.
    :param alone: whether no other attempt of the task instance can still be running.
    :param id: unique to this attempt.
    :param first_try: Airflow's number of the first try since the task was started or last cleared; a later
        one is a retry. None if it is unknown, as after a change of the task's ``retries``.
    :param most_tries: the number of the last try that Airflow allows. Only a clear raises it. None if it is
        unknown.
    """

    task_instance: str
    try_number: int = 1
    alone: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    first_try: int | None = None
    most_tries: int | None = None

    def __str__(self) -> str:
        return f"{self.task_instance} try {self.try_number}"

    def continues(self, first_try: int, most_tries: int | None) -> bool:
        """Whether this attempt is a retry of an earlier one: the task has not been cleared in between.

        :param first_try: the number of the earlier try, or of the first try of its series.
        :param most_tries: the earlier try's value; None for one of an earlier release.
        """
        if most_tries is not None and self.most_tries is not None:
            return most_tries == self.most_tries
        return self.first_try is not None and first_try >= self.first_try


@dataclass(frozen=True)
class Person(Attempt):
    """A person who settles a receipt by hand; ``task_instance`` is who that is."""

    def __str__(self) -> str:
        return self.task_instance


def task_instance_name(dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> str:
    """Return a task instance's name, as receipts have it.

    :param map_index: of a mapped task; None or -1 for any other.
    """
    name = f"{dag_id} / {run_id} / {task_id}"
    return name if map_index in (None, -1) else f"{name} [{map_index}]"
