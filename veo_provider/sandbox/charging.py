"""When a service charges for a task, and for which ends of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Charging:
    """A billing rule.

    :param at_submission: whether a task is on the bill from its acceptance on; otherwise once it has ended.
    :param failed: whether a failed task stays on the bill, or comes onto it.
    :param moderated: the same, if moderation was the reason.
    """

    at_submission: bool = False
    failed: bool = False
    moderated: bool = False

    def charges(self, status: str, *, moderated: bool = False) -> bool:
        """Return whether a task is on the bill.

        :param status: ``queued``, ``in_progress``, ``completed`` or ``failed``.
        :param moderated: whether moderation let it fail.
        """
        if status == "failed":
            return self.moderated if moderated else self.failed
        return status == "completed" or self.at_submission
