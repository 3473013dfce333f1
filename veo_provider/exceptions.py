"""Every error of this package, as one tree.

::

    VeoError
    ├── VeoRequestError               the request breaks a rule of the API; nothing was sent
    │   └── VeoImageError             the image does not exist, or the API does not accept it
    │       └── VeoImageUnfitError    the image is too large, or of another format: convert it
    ├── VeoImageUnavailableError      the image could not be read; no server can have accepted the request
    ├── VeoConnectionError            no response came; the call costs nothing
    │   └── VeoNotSentError           the request was not sent completely
    ├── VeoInterruptedError           the task was interrupted before its submission was sent completely
    ├── VeoAPIError                   the service returned an error
    │   ├── VeoBadRequestError        400, 413, …: the service refused the request
    │   │   └── VeoModelRetiredError  the model has ended: every request for it is refused
    │   ├── VeoNoChannelError         the gateway has no channel for the model; nothing was relayed
    │   ├── VeoWrongHostError         the host responds, but is not the API
    │   ├── VeoAuthenticationError    401, 403: wrong key, or the wrong type of key
    │   ├── VeoWrongTokenError        the token for the balance is wrong; the key may be right
    │   ├── VeoQuotaError             the account is empty
    │   ├── VeoRateLimitError         429, or the service is saturated
    │   ├── VeoModerationError        the image or the prompt was refused
    │   ├── VeoTaskNotFoundError      the service does not know this task id
    │   ├── VeoContentNotReadyError   the video file is not there yet
    │   ├── VeoContentGoneError       the video file is not there any more, or never was
    │   │   └── VeoContentFilteredError  the safety filter withheld the video: there is no file
    │   ├── VeoServerError            5xx: the service has a problem
    │   │   └── VeoContentServerError    the same for a download; the video may be filtered
    │   └── VeoUnexpectedAnswerError  the response is not the API's
    ├── VeoSubmissionUnknown          the response was lost: a generation may run, and be charged
    │   └── VeoUnknownReceiptError    the receipt records one, so nothing is submitted again
    │       └── VeoLookUpPendingError    the gateway may tell later what became of it
    ├── VeoGenerationFailed           the generation failed; not charged
    ├── VeoWaitTimeoutError           the generation is not finished in time; it may still complete
    ├── VeoNotFetchedError            accepted, but the video could not be fetched yet; it is paid for once
    ├── VeoVideoLostError             charged, but there is no video: filtered, or deleted by the service
    │   └── VeoChargeOpenError        ended without a video; whether it was charged is not known
    ├── VeoIncompleteVideoError       the download is not a complete MP4
    ├── VeoReceiptError               a receipt is damaged, or its place protects nothing
    │   └── VeoReceiptDeniedError     the store refuses receipts
    ├── VeoReceiptUnavailableError    a receipt cannot be read or written now
    ├── VeoReceiptChangedError        another attempt has changed the receipt
    ├── VeoSettlementError            a lost response cannot be settled by hand as a person says
    ├── VeoRecordLostError            accepted, but the receipt could not be written
    ├── VeoRequestChangedError        the output was generated from another request
    │   └── VeoAlreadyPaidError       this attempt, or another task, has paid for the output
    ├── VeoArchiveUnavailableError    the images of a batch cannot be listed now
    ├── VeoOutageError                nothing has succeeded for a long time
    ├── VeoReceiptsDeniedError        a batch has no permission to read its receipts
    ├── VeoSummaryUnavailableError    a summary cannot be written or read now
    │   └── VeoSummaryDeniedError     the store refuses the summary
    ├── VeoBatchError                 some images of a batch have no video
    │   └── VeoBatchUnfinishedError   the same, for temporary reasons
    └── VeoStorageError               an S3 operation failed
        ├── VeoStorageMissingError        the bucket, object or upload does not exist
        ├── VeoStorageDeniedError         S3 refuses access
        ├── VeoStorageConflictError       another write changes the same object
        ├── VeoStorageConfigurationError  S3 or boto3 refuses the call
        ├── VeoStorageUnavailableError    anything else: S3 is unavailable, or the response was lost
        └── VeoUploadLostError            another task that stores the same object aborted the upload

Each message is up to three sentences: what happened, whether money was spent, what to do next.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

TASK_LOG = "the service's task log (APIYI's is https://api.apiyi.com/task)"
"""Where a user can look up what the account generated and paid; the API itself has no list."""

HOST_EXAMPLE = ", such as https://api.apiyi.com/v1"
KEY_KIND = "the key must be of type Pay-per-request or Pay-as-you-go Priority"
KEPT = "The service keeps videos for about 2 days"
"""What holds for APIYI, like :data:`TASK_LOG`: an error of another gateway has its own words instead."""

_TWO_STOPS = re.compile(r"(?<!\.)\.\.(?= |$)")
"""Where a sentence ends with somebody else's sentence, which has a full stop of its own."""
_HOST_ADVICE = f"Check that the connection's host is the API's base URL{HOST_EXAMPLE}."


class VeoError(Exception):
    """Base of all errors of this package.

    :param what: one sentence that says what happened.
    :param advice: what to do next, if the class's own advice does not apply.
    """

    money: str = "No money was spent."
    """Whether money was spent; an error of a later phase carries its own sentence."""
    advice: str = ""
    """What to do next."""
    retryable: ClassVar[bool] = False
    """Whether the same step may succeed later, unchanged and without paying twice."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        what = _TWO_STOPS.sub(".", what)
        super().__init__(what)
        self.what = what
        if advice:
            self.advice = advice

    def tell_in(self, words: Mapping[str, str]) -> Self:
        """Replace what the advice says of APIYI by a gateway's own words, and return the error.

        :param words: :attr:`~veo_provider.api.gateways.gateway.Gateway.words`.
        """
        for general, own in words.items():
            self.advice = self.advice.replace(general, own)
        return self

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.money, self.advice) if part)


class VeoRequestError(VeoError, ValueError):
    """The request breaks a rule of the API; it was refused before anything was sent."""

    money = "Nothing was sent, and nothing was charged for it."
    advice = "Correct the parameter and run the task again."


class VeoImageError(VeoRequestError):
    """The image does not exist, is too large, or is not a JPEG, PNG or WebP."""

    advice = "Use another image and run the task again."


class VeoImageUnfitError(VeoImageError):
    """The image is too large for the service, or not a JPEG, PNG or WebP; converting it may help."""

    advice = (
        "Use another image, or convert this one, as VeoBatchOperator does with convert=True, and run "
        "the task again."
    )


class VeoImageUnavailableError(VeoError):
    """The image could not be read completely: its store failed, or the image changed."""

    advice = "Retrying is safe."
    retryable = True


class VeoConnectionError(VeoError):
    """No response came to a call that costs nothing."""

    money = "This call costs nothing."
    advice = "Check the host in the connection and the network. Retrying is safe."
    retryable = True


class VeoNotSentError(VeoConnectionError):
    """The request was not sent completely, so the server cannot have accepted it."""

    money = "No money was spent: the request was not sent completely."


class VeoInterruptedError(VeoError):
    """A timeout or a signal interrupted the task before its submission was sent completely."""

    advice = "Retrying is safe."
    retryable = True


class VeoAPIError(VeoError):
    """The service returned an error.

    :param what: one sentence that says what happened.
    :param status: HTTP status of the response.
    :param code: the service's own error code; may be empty.
    :param retry_after: seconds to wait before a retry, if the service requested that.
    :param advice: what to do next, if the class's own advice does not apply.
    """

    money = "Nothing was charged for this call."

    def __init__(
        self,
        what: str,
        *,
        status: int = 0,
        code: str = "",
        retry_after: float | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(what, advice=advice)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class VeoBadRequestError(VeoAPIError):
    """The service refused the request."""

    advice = "Correct the parameters: the same request will be refused again."


class VeoModelRetiredError(VeoBadRequestError):
    """The model has ended, so the service refuses every request for it."""

    advice = "No request for this model will be accepted again: use another model."


class VeoNoChannelError(VeoAPIError):
    """The gateway has no channel for the model: it responded itself, before it relayed anything."""

    advice = (
        "Retrying later is safe. If the error persists, the gateway does not offer this model to this key: "
        "use another model, or ask the gateway's support."
    )
    retryable = True


class VeoWrongHostError(VeoAPIError):
    """The connection's host responds, but is not the API."""

    advice = _HOST_ADVICE


class VeoAuthenticationError(VeoAPIError):
    """The key is wrong, or of a type that cannot generate videos."""

    advice = f"Check the password of the connection: {KEY_KIND}."


class VeoWrongTokenError(VeoAPIError):
    """The account token, which is for reading the balance and the list of tasks, is refused."""

    advice = "Check account_token in the connection's extra, or remove it: only those two need it."


class VeoQuotaError(VeoAPIError):
    """The account does not have enough money left."""

    advice = "The account is empty: top it up and run the task again."


class VeoRateLimitError(VeoAPIError):
    """There were too many requests, or the upstream is saturated; nothing was accepted."""

    advice = "Retry later or lower the concurrency. Retrying is safe."
    retryable = True


class VeoModerationError(VeoAPIError):
    """The image or the prompt was refused for reasons of safety or policy."""

    advice = "Change the image or the prompt: the same request will be refused again."


class VeoTaskNotFoundError(VeoAPIError):
    """The service does not know this task id."""

    advice = "Check the id, and that the connection's key belongs to the account that submitted it."


class VeoContentNotReadyError(VeoAPIError):
    """The video file is not there yet, which is usual in the first seconds after completion."""

    money = "Downloading costs nothing."
    advice = "Retrying is safe."
    retryable = True


class VeoContentGoneError(VeoAPIError):
    """The video file is not there any more, or never was because the video was filtered."""

    money = "Downloading costs nothing, but the generation itself has been charged."
    advice = (
        f"{KEPT}, and never has a file of a video that its safety filter "
        f"withheld. Look the video up in {TASK_LOG} before you generate it again."
    )


class VeoContentFilteredError(VeoContentGoneError):
    """The service completed the generation, but its safety filter withheld the video."""

    advice = (
        "There is no file, and there will be none. Change the image or the prompt before you generate it "
        f"again. To ask for a refund, look the video up in {TASK_LOG}."
    )


class VeoServerError(VeoAPIError):
    """The service has a problem."""

    advice = "Retrying is safe."
    retryable = True


class VeoContentServerError(VeoServerError):
    """The service had a problem during a download, or its safety filter withheld the video."""

    money = "Downloading costs nothing, but the generation itself has been charged."
    advice = (
        "Retrying is safe. If the error persists, the safety filter has probably withheld the video, and "
        f"there is no file: look it up in {TASK_LOG}."
    )


class VeoUnexpectedAnswerError(VeoAPIError):
    """The response is not the API's: a proxy's page, broken JSON, a redirect."""

    advice = _HOST_ADVICE
    retryable = True


class VeoSubmissionUnknown(VeoError):  # noqa: N818 - it names a state of knowledge, not a fault
    """A submission was sent, but its response was lost, or does not say whether it was accepted.

    :param what: one sentence that says what happened.
    :param veo_task_id: the task id in the received part of the response, if there is one. It is only a
        candidate: a free poll shows whether there is such a generation.
    :param extra_generations: how often the gateway says to have submitted it by itself besides.
    :param advice: what to do next, in place of the class's advice.
    """

    money = "It may have been accepted, and would then be charged."
    advice = (
        f"It is not sent again automatically. Look for the newest task in {TASK_LOG}. If it is there, wait "
        "for its id with VeoTaskSensor; if it is not, clear this task to submit once more."
    )

    def __init__(
        self, what: str, *, veo_task_id: str | None = None, extra_generations: int = 0, advice: str = ""
    ) -> None:
        super().__init__(what, advice=advice)
        self.veo_task_id = veo_task_id
        self.extra_generations = extra_generations


class VeoGenerationFailed(VeoError):  # noqa: N818 - the API's own word for it
    """The service could not generate the video.

    :param what: one sentence that says what happened.
    :param moderated: whether the service's safety filter refused it.
    :param advice: what to do next, unless it was moderation.
    """

    money = "A failed generation is not charged."
    advice = "Clear the task that submitted it to generate the video again."

    def __init__(self, what: str, *, moderated: bool = False, advice: str = "") -> None:
        super().__init__(what, advice=VeoModerationError.advice if moderated else advice)
        self.moderated = moderated


class VeoNotFetchedError(VeoError):
    """A generation was accepted, but its video could not be fetched yet.

    :param what: one sentence that says what happened, with the task id.
    """

    money = "The generation is paid for once, when it completes; fetching the video costs nothing."
    advice = "A retry continues with the same generation and costs nothing more."
    retryable = True

    def __init__(self, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after

    @classmethod
    def of(cls, veo_task_id: str, error: VeoError) -> VeoNotFetchedError:
        """Return the error for another one that came after the generation was accepted."""
        return cls(
            f"The video of {veo_task_id} is still to be fetched: {error.what} {error.advice}".rstrip(),
            retry_after=getattr(error, "retry_after", None),
        )


class VeoVideoLostError(VeoError):
    """A generation completed and was charged, but there is no video to fetch.

    :param what: one sentence that says what happened, with the task id and the cause.
    """

    money = "The generation was charged."
    advice = (
        "No retry brings the video back. To accept the loss and pay for a new video, run the task with "
        f'on_lost_video="regenerate". To ask for a refund, look it up in {TASK_LOG}.'
    )


class VeoChargeOpenError(VeoVideoLostError):
    """A generation has ended without a video, and the service does not say whether it was charged."""

    money = "It may have been charged: the service does not say."


class VeoIncompleteVideoError(VeoError):
    """The download is not a complete MP4: it was cut off, or is something else."""

    money = "Downloading costs nothing."
    advice = "Download it again; it does not have to be generated again."
    retryable = True


class VeoStorageError(VeoError):
    """An S3 operation failed.

    :param what: one sentence that says what happened.
    :param code: S3's error code, or the status of a response without one; empty if there was no response.
    """

    money = "Reading and writing objects costs nothing at the video service."

    def __init__(self, what: str, *, code: str = "") -> None:
        super().__init__(what)
        self.code = code


class VeoStorageMissingError(VeoStorageError):
    """The bucket, object or upload does not exist."""

    advice = "Check the names of bucket and key, and the connection's region and endpoint."


class VeoStorageDeniedError(VeoStorageError):
    """S3 refuses access."""

    advice = "Correct the connection or the permissions, and run the task again."


class VeoStorageConflictError(VeoStorageError):
    """Another write to the same object was faster, or is in progress."""

    advice = "Retrying is safe: a retry first reads what is there."
    retryable = True


class VeoStorageConfigurationError(VeoStorageError):
    """S3 or boto3 refuses the call: a name, an option or a setting of the connection is wrong."""

    advice = "Correct the connection or the parameter, and run the task again."


class VeoStorageUnavailableError(VeoStorageError):
    """S3 is unavailable or has a problem, or its response was lost."""

    advice = "Retrying is safe."
    retryable = True


class VeoArchiveUnavailableError(VeoError):
    """The images of a batch cannot be listed now."""

    money = "Nothing more was spent."
    advice = "Retrying is safe: finished videos are found by their receipts."
    retryable = True


class VeoRequestChangedError(VeoError):
    """The output was generated, or is being generated, from another request."""

    money = "Nothing more was spent."
    advice = (
        'Use another output, or decide what to do: on_changed_request="regenerate" pays for a new video, '
        '"keep" uses the existing one.'
    )


class VeoAlreadyPaidError(VeoRequestChangedError):
    """This attempt, or another task, has already paid for the output: continuing would pay again."""


class VeoUnknownReceiptError(VeoSubmissionUnknown):
    """A receipt records a submission of unknown fate, so nothing is submitted again."""

    advice = (
        f"Look for it in {TASK_LOG}. If it is there, write its id into the receipt: python -m "
        "veo_provider.settle attach RECEIPT ID. If it is not: python -m veo_provider.settle never-happened "
        'RECEIPT, or run the task once with on_unknown_submission="resubmit". Then clear this task.'
    )


class VeoLookUpPendingError(VeoUnknownReceiptError):
    """What became of a submission could not be looked up yet; the gateway may tell later."""

    advice = f"The next attempt looks again. If there is none left: {VeoUnknownReceiptError.advice}"
    retryable = True


class VeoReceiptChangedError(VeoError):
    """Another attempt has changed the receipt."""

    money = "Nothing more was spent."
    advice = "The next attempt reads it again."
    retryable = True


class VeoSettlementError(VeoError):
    """A lost response cannot be settled as a person says; the receipt is unchanged."""

    money = "The receipt is unchanged, and nothing was spent."


class VeoRecordLostError(VeoError):
    """A submission was accepted, but its receipt could not be written."""

    money = "It will be charged when it completes."
    advice = (
        "To continue with it, write its id into the receipt: python -m veo_provider.settle attach RECEIPT ID."
    )


class VeoReceiptError(VeoError):
    """A receipt is damaged, of a newer version, or in a place where it protects nothing."""

    money = "Nothing more was spent."
    advice = "Nothing is submitted until it is corrected. Correct the problem above and clear the task."


class VeoReceiptDeniedError(VeoReceiptError):
    """The store refuses receipts: access is denied, the bucket does not exist, or the connection is wrong."""

    advice = "Nothing is submitted without a receipt. Correct the problem above and clear the task."


class VeoReceiptUnavailableError(VeoError):
    """A receipt cannot be read or written now; that is never treated as a missing receipt."""

    money = "Nothing more was spent."
    advice = "Nothing is submitted without a receipt. Retrying is safe."
    retryable = True


class ReceiptConflictError(Exception):
    """Another process has written the receipt since it was read; read it again."""


class VeoOutageError(VeoError):
    """Nothing has succeeded for a long time."""

    money = "Receipts record what was submitted, so nothing is paid for twice."
    advice = "Retrying is safe."
    retryable = True


class VeoReceiptsDeniedError(VeoError):
    """There is no permission to read the receipts, so it is not known what is already paid."""

    money = "Nothing is submitted without a receipt."
    advice = "Allow s3:ListBucket on the bucket, and s3:GetObject and s3:PutObject below the output prefix."


class VeoSummaryUnavailableError(VeoError):
    """A summary or its journal cannot be written or read now."""

    money = "Nothing more was spent."
    advice = "Retrying is safe: finished videos are found by their receipts, and only the summary is redone."
    retryable = True


class VeoSummaryDeniedError(VeoSummaryUnavailableError):
    """The store refuses the summary or its journal, and will refuse it again."""

    advice = "Finished videos are found by their receipts. Correct the problem above and clear the task."
    retryable = False


class VeoBatchError(VeoError):
    """Some images of a batch have no video."""

    money = "Receipts record what was paid for, so nothing is paid for again."
    advice = "The summary says why."


class VeoBatchUnfinishedError(VeoBatchError):
    """Some images have no video yet, for temporary reasons."""

    advice = "The summary says why. The next attempt continues with them."
    retryable = True


class VeoWaitTimeoutError(VeoError):
    """A generation was not finished in time; it may still complete."""

    money = "It may still complete, and is then charged once."
    advice = (
        "Its receipt records the id: the next attempt waits for the same generation and pays nothing more."
    )
    retryable = True


class VeoUploadLostError(VeoStorageError):
    """Another task that stores the same object aborted this upload while it was in progress."""

    advice = "Retrying is safe."
    retryable = True
