"""What the API answers: a video and its status."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import TASK_LOG, VeoGenerationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPLETED = frozenset({"completed", "complete", "succeeded", "success", "succeed", "done", "finished"})
"""OpenAI and most others say ``completed``; Ark and Together ``succeeded``; new-api's own task ``SUCCESS``
(its model/task.go); Kling ``succeed``; xAI ``done``; resellers of Sora ``finished`` and ``success``."""
_FAILED = frozenset({"failed", "failure", "fail", "error", "rejected"})
"""OpenAI ``failed``; new-api's own task ``FAILURE``; Kie ``fail``; aimlapi ``error``."""
_ENDED = frozenset(
    {"cancelled", "canceled", "aborted", "expired", "deleted", "timeout", "timed_out", "timedout", "timeoutd"}
)
"""OpenRouter and Inworld ``cancelled`` and ``expired``; DashScope ``CANCELED``; Replicate ``aborted``
(https://github.com/replicate/replicate-python/pull/460); SGLang ``deleted``. Nobody documents that a
generation which ended so is never charged."""
_QUEUED = frozenset({"queued", "pending", "submitted", "not_start", "not_started", "in_queue"})
"""OpenAI ``queued``; OpenRouter ``pending``; new-api's own task ``NOT_START`` and ``SUBMITTED``."""
_IN_PROGRESS = frozenset({"in_progress", "processing", "running", "generating"})
"""OpenAI ``in_progress``; LiteLLM for Gemini ``processing``; Ark ``running``; aimlapi ``generating``."""

_NO_MODERATION = re.compile(
    r"issue with the audio for your prompt|PUBLIC_ERROR_(?:AUDIO_FILTERED|USER_REQUESTS_THROTTLED"
    r"|SOMETHING_WENT_WRONG|MODEL_ACCESS_DENIED|UNUSUAL_ACTIVITY\w*|\w*TOO_MUCH_TRAFFIC|\w*QUOTA_REACHED)",
    re.IGNORECASE,
)
"""What sounds like moderation, and may pass unchanged.

First of all Veo's filter of generated speech: "We encountered an issue with the audio for your prompt, which
means we could not create your video. This can sometimes happen due to our safety filters … You have not been
charged for this attempt." (googleapis/js-genai, issue 1272: the same request often passes the next time).
Then those of upstream's ``PUBLIC_`` codes that are about load, as clients of Google's Flow list them."""
_MODERATION_CODES = re.compile(
    r"PUBLIC_\w+|\w*moderat(?:ion|ed)\w*|content[_ ]policy\w*|content[_ ]filter\w*|prompt_blocked"
    r"|sensitive_words_detected|(?:image_)?safety|prohibited_content",
    re.IGNORECASE,
)
"""Upstream's own ``PUBLIC_…``; OpenAI's ``moderation_blocked`` and ``content_policy_violation``; Azure's
``content_filter``; new-api's ``sensitive_words_detected`` and ``prompt_blocked`` (its types/error.go); the
finish reasons of Gemini."""
_MODERATION_PHRASES = re.compile(
    r"\bPUBLIC_[A-Z_]+"
    # "blocked by our safety filters" and "violates Vertex AI's usage guidelines … Support codes: 15236754":
    # Google's page on responsible AI for Veo.
    r"|(?i:\bsafety (?:filter|polic|guideline|reason|violation|setting)"
    r"|\b(?:blocked|rejected|refused|flagged|filtered|violat\w+)\b[^.]{0,60}\b(?:safety|moderation)\b"
    r"|\bsupport codes?: ?\d{8}"
    r"|\bviolat\w+\b[^.]{0,80}\b(?:guidelines?|practices|principles"
    r"|(?:usage|content|use|safety|our|google'?s?|openai'?s?) polic(?:y|ies))\b"
    r"|\bresponsible ai\b"
    r"|\b(?:content|usage|prohibited use) polic(?:y|ies)\b"
    # new-api's and Veo's word filters.
    r"|\bsensitive words?\b"
    r"|\bcontent moderation\b|\bmoderation (?:policy|filter|blocked|failed)\b|\bwas moderated\b)"
)
"""Phrases of the services' own refusals. A *rate limiting policy* or a *retry policy* is none."""


def status_word(value: object) -> str:
    """Return a status in the one spelling that the tables have: lower case, with underscores."""
    return re.sub(r"[\s_-]+", "_", str(value)[:200].strip().lower())


class VideoStatus(str, enum.Enum):
    """Where a generation stands. A word that no gateway is known to use counts as unknown."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> VideoStatus:
        """Read the words of all gateways of this family; any other is unknown, which is not finished."""
        word = status_word(value)
        tables = (
            (_QUEUED, cls.QUEUED),
            (_IN_PROGRESS, cls.IN_PROGRESS),
            (_COMPLETED, cls.COMPLETED),
            (_FAILED | _ENDED, cls.FAILED),
        )
        return next((status for words, status in tables if word in words), cls.UNKNOWN)


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
    :param word: the status in the service's own word, to be logged where it is unknown.
    :param final_word: the same where the status is final, in lower case; else empty.
    :param resubmittable: whether a failure that is called so is documented as not charged. After ``expired``
        or ``cancelled`` it is not, so that no second submission may follow by itself.
    """

    id: str
    status: VideoStatus
    progress: int = 0
    model: str = ""
    created_at: int | None = None
    completed_at: int | None = None
    error_code: str = ""
    error_message: str = ""
    word: str = ""
    final_word: str = ""
    resubmittable: bool = True

    @property
    def finished(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in (VideoStatus.COMPLETED, VideoStatus.FAILED)

    @property
    def moderated(self) -> bool:
        """Whether it failed because the service's safety filter refused it.

        Veo's audio filter is another thing: the same request often passes the next time.
        """
        return is_moderation_message(self.error_message, self.error_code)

    @property
    def completed_with_error(self) -> bool:
        """Whether it is called completed and has an error: charged, and probably without a video."""
        return self.status is VideoStatus.COMPLETED and bool(self.error_code or self.error_message)

    @property
    def failure_reason(self) -> str:
        """Why it failed, as far as the service says."""
        ending = f"the service calls it {self.final_word!r}" if not self.resubmittable else ""
        reason = ": ".join(part for part in (ending, self.error_code, self.error_message) if part)
        return reason or "the service gave no reason"

    def raise_if_failed(self) -> None:
        """Raise :class:`VeoGenerationFailed` with the service's reason, if the generation failed."""
        if self.status is not VideoStatus.FAILED:
            return
        error = VeoGenerationFailed(
            f"The generation of {self.id} failed: {self.failure_reason}.",
            moderated=self.moderated,
            advice="" if self.resubmittable else f"Look it up in {TASK_LOG} before you generate it again.",
        )
        if not self.resubmittable:
            error.money = "Whether a generation that ended so is charged is not documented."
        raise error

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON, XCom and a trigger's event can carry."""
        return {**vars(self), "status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Video:
        """Rebuild a video from :meth:`to_dict`, also of another version of this package."""
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        return cls(**{**known, "status": VideoStatus(data["status"])})


def is_resubmittable(word: str) -> bool:
    """Whether a failure in this word is documented as not charged."""
    return word not in _ENDED


def is_moderation_message(text: str, code: str = "") -> bool:
    """Whether an error is about safety or policy, which no retry can mend.

    :param text: its message.
    :param code: its code, judged by another list: a code is one word.
    """
    if _NO_MODERATION.search(code) or _NO_MODERATION.search(text):
        return False
    return bool(_MODERATION_CODES.fullmatch(code.strip()) or _MODERATION_PHRASES.search(text))
