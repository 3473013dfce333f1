"""What the API answers: a video and its status."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.api.errors import VeoGenerationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping


class VideoStatus(str, enum.Enum):
    """Where a generation stands. Whatever a gateway says beyond these four counts as unknown."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> VideoStatus:
        """Read any other word as unknown, which is not finished."""
        known = {status.value: status for status in cls}
        return known.get(str(value).strip().lower(), cls.UNKNOWN)


@dataclass(frozen=True)
class Video:
    """One generation, as the API last described it.

    :param id: the API's task id, like ``task_`` and 32 characters.
    :param status: the only field to judge by: ``completed_at`` and ``model`` may be wrong before the end.
    :param progress: 0, 50 or 100.
    :param model: the model, as answered.
    :param created_at: Unix seconds.
    :param completed_at: Unix seconds.
    :param error_code: why it failed, where the service says so.
    :param error_message: why it failed, where the service says so.
    """

    id: str
    status: VideoStatus
    progress: int = 0
    model: str = ""
    created_at: int | None = None
    completed_at: int | None = None
    error_code: str = ""
    error_message: str = ""

    @property
    def finished(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in (VideoStatus.COMPLETED, VideoStatus.FAILED)

    @property
    def moderated(self) -> bool:
        """Whether it failed because the service's safety filter refused it."""
        return speaks_of_moderation(self.error_code) or speaks_of_moderation(self.error_message)

    @property
    def failure_reason(self) -> str:
        """Why it failed, as far as the service says."""
        reason = ": ".join(part for part in (self.error_code, self.error_message) if part)
        return reason or "the service gave no reason"

    def raise_if_failed(self) -> None:
        """Raise :class:`VeoGenerationFailed` with the service's reason, if the generation failed."""
        if self.status is not VideoStatus.FAILED:
            return
        raise VeoGenerationFailed(
            f"The generation of {self.id} failed: {self.failure_reason}.",
            moderated=self.moderated,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON, XCom and a trigger's event can carry."""
        return {**vars(self), "status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Video:
        """Rebuild a video from :meth:`to_dict`."""
        return cls(**{**data, "status": VideoStatus(data["status"])})


def speaks_of_moderation(text: str) -> bool:
    """Whether an error's text is about safety or policy, which no retry can mend."""
    lowered = text.lower()
    return text.startswith("PUBLIC_") or "safety" in lowered or "policy" in lowered or "moderat" in lowered
