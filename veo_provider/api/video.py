"""Video and VideoStatus: what the API reports about a generation."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.exceptions import VeoGenerationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.api.gateways.gateway import Gateway

_COMPLETED = frozenset({"completed", "complete", "succeeded", "success", "succeed", "done", "finished"})
"""OpenAI and most others say ``completed``; Ark and Together ``succeeded``; new-api's own task ``SUCCESS``
(its model/task.go); Kling ``succeed``; xAI ``done``; resellers of Sora ``finished`` and ``success``."""
_FAILED = frozenset({"failed", "failure", "fail", "error", "rejected"})
"""OpenAI ``failed``; new-api's own task ``FAILURE``; Kie ``fail``; aimlapi ``error``."""
_ENDED = frozenset(
    {
        "cancelled",
        "canceled",
        "aborted",
        "expired",
        "deleted",
        "dead",
        "timeout",
        "timed_out",
        "timedout",
        "timeoutd",
    }
)
"""OpenRouter and Inworld ``cancelled`` and ``expired``; OpenRouter's own provider for the AI SDK also ends at
``dead``; DashScope ``CANCELED``; Replicate ``aborted``
(https://github.com/replicate/replicate-python/pull/460); SGLang ``deleted``. It is not
documented anywhere that such a generation is not charged."""
_QUEUED = frozenset({"queued", "pending", "submitted", "not_start", "not_started", "in_queue"})
"""OpenAI ``queued``; OpenRouter ``pending``; new-api's own task ``NOT_START`` and ``SUBMITTED``."""
_IN_PROGRESS = frozenset({"in_progress", "processing", "running", "generating"})
"""OpenAI ``in_progress``; LiteLLM for Gemini ``processing``; Ark ``running``; aimlapi ``generating``."""

_NO_MODERATION = re.compile(
    r"issue with the audio for your prompt|PUBLIC_ERROR_(?:AUDIO_FILTERED|USER_REQUESTS_THROTTLED"
    r"|SOMETHING_WENT_WRONG|MODEL_ACCESS_DENIED|UNUSUAL_ACTIVITY\w*|\w*TOO_MUCH_TRAFFIC|\w*QUOTA_REACHED)",
    re.IGNORECASE,
)
"""Errors that look like moderation, but may not occur again for the same request.

First, Veo's filter of generated speech: "We encountered an issue with the audio for your prompt, which
means we could not create your video. This can sometimes happen due to our safety filters … You have not been
charged for this attempt." (googleapis/js-genai, issue 1272: the same request often passes the next time).
Then those of upstream's ``PUBLIC_`` codes that are about load, according to clients of Google's Flow."""
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
"""Phrases of the services' refusals. A *rate limiting policy* or a *retry policy* does not match."""


def status_word(value: object) -> str:
    """Return a status in the spelling of the tables: lower case, with underscores."""
    return re.sub(r"[\s_-]+", "_", str(value)[:200].strip().lower())


class VideoStatus(str, enum.Enum):
    """The status of a generation. A word that no known gateway uses is unknown."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> VideoStatus:
        """Map the words of all known gateways; any other word is unknown, which is not finished."""
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
    """One generation, as the API last reported it.

    :param id: the API's task id, like ``task_`` and 32 characters.
    :param status: the only reliable field: ``completed_at`` and ``model`` may be wrong before the end.
    :param progress: 0, 50 or 100.
    :param model: the model, according to the response.
    :param created_at: Unix seconds.
    :param completed_at: Unix seconds.
    :param error_code: the code of its error, if the service gives one.
    :param error_message: the message of its error, if the service gives one.
    :param word: the status in the service's own word, to be logged if it is unknown.
    :param final_word: the same in lower case if the status is final; otherwise empty.
    :param resubmittable: whether a failure with this word is documented as not charged. ``expired`` and
        ``cancelled`` are not, so no second submission follows automatically.
    :param cost_usd: what the gateway says that it costs; None if it says nothing.
    :param call_id: the name of the submission in the gateway's own log, if it gives one.
    :param extra_generations: how many further submissions the gateway says that it has made by itself.
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
    cost_usd: float | None = None
    call_id: str = ""
    extra_generations: int = 0

    @property
    def finished(self) -> bool:
        """Whether the status is final."""
        return self.status in (VideoStatus.COMPLETED, VideoStatus.FAILED)

    @property
    def moderated(self) -> bool:
        """Whether it failed because the service's safety filter refused it.

        Veo's audio filter does not count: the same request often succeeds the next time.
        """
        return is_moderation_message(self.error_message, self.error_code)

    @property
    def completed_with_error(self) -> bool:
        """Whether it is completed with an error: charged, but probably without a video."""
        return self.status is VideoStatus.COMPLETED and bool(self.error_code or self.error_message)

    @property
    def failure_reason(self) -> str:
        """Why it failed, if the service says so."""
        ending = f"the service calls it {self.final_word!r}" if not self.resubmittable else ""
        reason = ": ".join(part for part in (ending, self.error_code, self.error_message) if part)
        return reason or "the service gave no reason"

    def raise_if_failed(self, gateway: Gateway = APIYI) -> None:
        """Raise :class:`VeoGenerationFailed` with the service's reason, if the generation failed.

        :param gateway: says whether a failure is charged, and where to look.
        """
        if self.status is not VideoStatus.FAILED:
            return
        charged = gateway.charging.charges_failure(moderated=self.moderated)
        free = charged is False
        look_up = f"Look it up in {gateway.task_log} before you generate it again."
        error = VeoGenerationFailed(
            f"The generation of {self.id} failed: {self.failure_reason}.",
            moderated=self.moderated,
            advice="" if self.resubmittable and free else look_up,
        )
        if not self.resubmittable:
            error.money = "It is not documented whether a generation that ended like this is charged."
        elif charged:
            error.money = "This gateway charges a generation that failed like this."
        elif not free:
            error.money = "It may have been charged: the gateway does not say."
        raise error

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON, XCom and a trigger's event."""
        return {**vars(self), "status": self.status.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Video:
        """Rebuild a video from :meth:`to_dict`, possibly of another version of this package."""
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        return cls(**{**known, "status": VideoStatus(data["status"])})


def is_resubmittable(word: str) -> bool:
    """Whether a failure with this word is documented as not charged."""
    return word not in _ENDED


def is_moderation_message(text: str, code: str = "") -> bool:
    """Whether an error is about safety or policy, so a retry cannot help.

    :param text: the error's message.
    :param code: the error's code, for which there is another list: a code is one word.
    """
    if _NO_MODERATION.search(code) or _NO_MODERATION.search(text):
        return False
    return bool(_MODERATION_CODES.fullmatch(code.strip()) or _MODERATION_PHRASES.search(text))
