"""Every error of this package, as one tree.

::

    VeoError
    ├── VeoRequestError               a rule of the API is broken; nothing was sent
    │   └── VeoImageError             the image does not exist, or is nothing the API takes
    │       └── VeoImageUnfitError    the image is too large, or of another format: convert it
    ├── VeoImageUnavailableError      the image's source failed; no server can have accepted the request
    ├── VeoConnectionError            no answer came; the call was a free one
    │   └── VeoNotSentError           the request never reached the server whole
    ├── VeoInterruptedError           the task was ended before its submission was sent whole
    ├── VeoAPIError                   the service answered, and said no
    │   ├── VeoBadRequestError        400, 413, …: the service refused the request
    │   │   └── VeoModelRetiredError  the model has ended: every request for it is refused
    │   ├── VeoNoChannelError         the gateway itself has no channel for the model; nothing was relayed
    │   ├── VeoWrongHostError         what answers is not the API
    │   ├── VeoAuthenticationError    401, 403: wrong key, or the wrong type of key
    │   ├── VeoWrongTokenError        the token for the balance is wrong; the key may be right
    │   ├── VeoQuotaError             the account is empty
    │   ├── VeoRateLimitError         429, or saturated: come back later
    │   ├── VeoModerationError        the image or the prompt was refused
    │   ├── VeoTaskNotFoundError      the service does not know this task id
    │   ├── VeoContentNotReadyError   the file is not there yet
    │   ├── VeoContentGoneError       the file is not there any more, or never will be
    │   │   └── VeoContentFilteredError  the safety filter held the video back: there is no file
    │   ├── VeoServerError            5xx: trouble on the other side
    │   │   └── VeoContentServerError    the same for a download, which may also mean a filtered video
    │   └── VeoUnexpectedAnswerError  an answer that is none of the API's
    ├── VeoSubmissionUnknown          a submission's answer was lost: it may be generating, and charged
    │   └── VeoUnknownReceiptError    the receipt of one keeps everybody from submitting again
    ├── VeoGenerationFailed           the service gave up; not charged
    ├── VeoWaitTimeoutError           not finished in time; not known to have failed
    ├── VeoNotFetchedError            accepted, and its video could not be fetched yet: paid once, not lost
    ├── VeoVideoLostError             charged, and there is no video: filtered, or deleted by the service
    │   └── VeoChargeOpenError        ended without a video, and nobody says whether it was charged
    ├── VeoIncompleteVideoError       what arrived is not a whole MP4
    ├── VeoReceiptError               a receipt is damaged, or kept where it protects nothing
    │   └── VeoReceiptDeniedError     the store keeps no receipt
    ├── VeoReceiptUnavailableError    a receipt cannot be read or written now
    ├── VeoReceiptChangedError        another attempt changed the receipt meanwhile
    ├── VeoRecordLostError            accepted, but the receipt could not be written
    ├── VeoRequestChangedError        the output was made from another request
    │   └── VeoAlreadyPaidError       this try, or another task, has paid for the output
    ├── VeoArchiveUnavailableError    the images of a batch cannot be listed now
    ├── VeoOutageError                nothing has succeeded for a long time
    ├── VeoReceiptsDeniedError        a batch may not read its receipts
    ├── VeoSummaryUnavailableError    a summary cannot be written or read now
    │   └── VeoSummaryDeniedError     the store refuses the summary
    ├── VeoBatchError                 some images of a batch have no video
    │   └── VeoBatchUnfinishedError   the same, for reasons that may pass
    └── VeoStorageError               S3 did not do what it was asked for
        ├── VeoStorageMissingError        there is no such bucket, object or upload
        ├── VeoStorageDeniedError         S3 refuses access
        ├── VeoStorageConflictError       somebody else writes the same object
        ├── VeoStorageConfigurationError  S3 or boto3 refuses the call as it is
        ├── VeoStorageUnavailableError    anything else: S3 is away, or the answer was lost
        └── VeoUploadLostError            the upload was aborted by a task that stores the same object

Each message is up to three sentences: what happened, whether money was spent, what to do next.
"""

from __future__ import annotations

from typing import ClassVar

TASK_LOG = "the service's task log (APIYI's is https://api.apiyi.com/task)"
"""Where a person can look up what the account generated and paid; the API itself has no list."""

_HOST_ADVICE = "Check that the connection's host is the API's base URL, such as https://api.apiyi.com/v1."


class VeoError(Exception):
    """Base of all errors of this package.

    :param what: one sentence that says what happened.
    :param advice: what to do next, where the class's own advice does not fit.
    """

    money: str = "No money was spent."
    """What the class says about the money; an error of a later phase carries its own sentence."""
    advice: str = ""
    """What the class says to do next."""
    retryable: ClassVar[bool] = False
    """Whether the same step may succeed later, unchanged and without paying twice."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        if advice:
            self.advice = advice

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.money, self.advice) if part)


class VeoRequestError(VeoError, ValueError):
    """The request breaks a rule of the API; it was refused before anything was sent."""

    money = "Nothing was sent, and nothing was charged for it."
    advice = "Correct the parameter and run the task again."


class VeoImageError(VeoRequestError):
    """The image does not exist, is too large, or is not a JPEG, PNG or WebP."""

    advice = "Give another image, and run the task again."


class VeoImageUnfitError(VeoImageError):
    """The image is too large for the service, or not a JPEG, PNG or WebP: converted, it may do."""

    advice = (
        "Give another image, or convert this one, as VeoBatchOperator does with convert=True, and run the "
        "task again."
    )


class VeoImageUnavailableError(VeoError):
    """The image could not be read to its end: its store failed, or it changed meanwhile."""

    advice = "Trying again is safe."
    retryable = True


class VeoConnectionError(VeoError):
    """No answer came to a call that costs nothing."""

    money = "This call costs nothing."
    advice = "Check the host in the connection and the network; trying again is safe."
    retryable = True


class VeoNotSentError(VeoConnectionError):
    """The request never reached the server whole, so the server cannot have accepted it."""

    money = "No money was spent: the request was never sent whole."


class VeoInterruptedError(VeoError):
    """The task was ended, by a timeout or a signal, before its submission was sent whole."""

    advice = "Trying again is safe."
    retryable = True


class VeoAPIError(VeoError):
    """The service answered with an error.

    :param what: one sentence that says what happened.
    :param status: HTTP status of the answer.
    :param code: the service's own error code, may be empty.
    :param retry_after: seconds that the service asked to wait, where it did.
    """

    money = "Nothing was charged for this call."

    def __init__(
        self, what: str, *, status: int = 0, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(what)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class VeoBadRequestError(VeoAPIError):
    """The service refused the request as it is."""

    advice = "Sending it again unchanged will fail again: correct the parameters first."


class VeoModelRetiredError(VeoBadRequestError):
    """The model has ended, so that the service refuses every request for it."""

    advice = "No request for this model will be accepted again: name another model."


class VeoNoChannelError(VeoAPIError):
    """The gateway has no channel for the model: it answered by itself, before it relayed anything."""

    advice = (
        "Trying again later is safe. If it stays so, the gateway does not serve this model to this key: name "
        "another model, or ask the gateway."
    )
    retryable = True


class VeoWrongHostError(VeoAPIError):
    """What answers under the connection's host is not the API."""

    advice = _HOST_ADVICE


class VeoAuthenticationError(VeoAPIError):
    """The key is wrong, or of a type that may not generate videos."""

    advice = (
        "Check the password of the connection: the key must be of type "
        "Pay-per-request or Pay-as-you-go Priority."
    )


class VeoWrongTokenError(VeoAPIError):
    """The account token, which shows the balance and nothing else, is refused."""

    advice = "Check account_token in the connection's extra, or leave it out: only the balance needs it."


class VeoQuotaError(VeoAPIError):
    """The account has not enough money left."""

    advice = "The account is empty: top it up, then run the task again."


class VeoRateLimitError(VeoAPIError):
    """Too many requests, or the upstream is saturated; nothing was accepted."""

    advice = "Try again later, or with fewer at a time: trying again is safe."
    retryable = True


class VeoModerationError(VeoAPIError):
    """The image or the prompt was refused on grounds of safety or policy."""

    advice = "Change the image or the prompt: unchanged it will be refused again."


class VeoTaskNotFoundError(VeoAPIError):
    """The service does not know this task id."""

    advice = "Check the id, and that the connection's key belongs to the account that submitted it."


class VeoContentNotReadyError(VeoAPIError):
    """The video is not there yet; usual in the first seconds after completion."""

    money = "Downloading costs nothing."
    advice = "Trying again is safe."
    retryable = True


class VeoContentGoneError(VeoAPIError):
    """The video is not there any more, or there never was one because it was filtered."""

    money = "Downloading costs nothing, but the generation itself has been charged."
    advice = (
        "Videos are kept for about 2 days; a video held back by the safety filter never gets a file. "
        f"Look it up in {TASK_LOG} before you generate it again."
    )


class VeoContentFilteredError(VeoContentGoneError):
    """The service completed the generation, and its safety filter held the video back."""

    advice = (
        "There is no file to fetch, now or later. Change the image or the prompt before you generate it "
        f"again; look it up in {TASK_LOG} to ask for the money back."
    )


class VeoServerError(VeoAPIError):
    """Trouble on the service's side."""

    advice = "Trying again is safe."
    retryable = True


class VeoContentServerError(VeoServerError):
    """Trouble on the service's side during a download, or a video that its safety filter held back."""

    money = "Downloading costs nothing, but the generation itself has been charged."
    advice = (
        "Trying again is safe. If it stays so, the safety filter has probably held the video back, and there "
        f"is no file: look it up in {TASK_LOG}."
    )


class VeoUnexpectedAnswerError(VeoAPIError):
    """An answer that is none of the API's: a proxy's page, broken JSON, a redirect."""

    advice = _HOST_ADVICE
    retryable = True


class VeoSubmissionUnknown(VeoError):  # noqa: N818 - it names a state of knowledge, not a fault
    """A submission went out and its answer never came back, or made no sense.

    :param what: one sentence that says what happened.
    :param veo_task_id: the id that could be read in what came of the answer, where one could. It is no more
        than a candidate: a free look at its status tells whether there is such a generation.
    """

    money = "It may have been accepted, and would then be charged."
    advice = (
        f"It is not sent again by itself: look for the newest task in {TASK_LOG}. If it is there, wait for "
        "its id with VeoTaskSensor; if it is not, clear this task to submit once more."
    )

    def __init__(self, what: str, *, veo_task_id: str | None = None) -> None:
        super().__init__(what)
        self.veo_task_id = veo_task_id


class VeoGenerationFailed(VeoError):  # noqa: N818 - the API's own word for it
    """The service could not make the video.

    :param what: one sentence that says what happened.
    :param moderated: whether the service's safety filter refused it.
    :param advice: what to do next, where it is not moderation.
    """

    money = "A failed generation is not charged."
    advice = "Clear the task that submitted it to generate the video anew."

    def __init__(self, what: str, *, moderated: bool = False, advice: str = "") -> None:
        super().__init__(what, advice=VeoModerationError.advice if moderated else advice)
        self.moderated = moderated


class VeoNotFetchedError(VeoError):
    """A generation was accepted, and its video could not be fetched yet.

    :param what: one sentence that says what happened, with the task id.
    """

    money = "The generation is paid for once, when it completes; fetching it costs nothing."
    advice = "Trying again goes on with the same generation, and pays nothing more."
    retryable = True

    def __init__(self, what: str, *, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after

    @classmethod
    def of(cls, veo_task_id: str, error: VeoError) -> VeoNotFetchedError:
        """Return what an error means that came after the generation was accepted."""
        return cls(
            f"The video of {veo_task_id} is still to be fetched: {error.what} {error.advice}".rstrip(),
            retry_after=getattr(error, "retry_after", None),
        )


class VeoVideoLostError(VeoError):
    """A generation completed and was charged, and there is no video to fetch.

    :param what: one sentence that says what happened, with the task id and the cause.
    """

    money = "The generation was charged."
    advice = (
        "No retry brings the video back. To accept the loss and pay for a new one, run the task with "
        f'on_lost_video="regenerate"; to ask for the money back, look it up in {TASK_LOG}.'
    )


class VeoChargeOpenError(VeoVideoLostError):
    """A generation has ended without a video, and the service does not say whether it is charged."""

    money = "It may have been charged: the service does not say."


class VeoIncompleteVideoError(VeoError):
    """What arrived is not a whole MP4: cut on the way, or something else altogether."""

    money = "Downloading costs nothing."
    advice = "Download it again; there is no need to generate it again."
    retryable = True


class VeoStorageError(VeoError):
    """S3 did not do what it was asked for.

    :param what: one sentence that says what happened.
    :param code: S3's error code, or the status of an answer that has none; empty where there was no answer.
    """

    money = "Reading and writing objects costs nothing at the video service."

    def __init__(self, what: str, *, code: str = "") -> None:
        super().__init__(what)
        self.code = code


class VeoStorageMissingError(VeoStorageError):
    """There is no such bucket, object or upload."""

    advice = "Check the names of bucket and key, and the connection's region and endpoint."


class VeoStorageDeniedError(VeoStorageError):
    """S3 refuses access."""

    advice = "Correct the connection or the permissions, and run the task again."


class VeoStorageConflictError(VeoStorageError):
    """Another write to the same object was faster, or is going on."""

    advice = "Trying again is safe: what is there is read first."
    retryable = True


class VeoStorageConfigurationError(VeoStorageError):
    """S3 or boto3 refuses the call as it is: a name, an option or a setting of the connection is wrong."""

    advice = "Correct the connection or the parameter, and run the task again."


class VeoStorageUnavailableError(VeoStorageError):
    """S3 is away or in trouble, or its answer was lost."""

    advice = "Trying again is safe."
    retryable = True


class VeoArchiveUnavailableError(VeoError):
    """An archive cannot be listed now."""

    money = "Nothing more was spent."
    advice = "Trying again is safe: what is done is found by its receipt."
    retryable = True


class VeoRequestChangedError(VeoError):
    """The output was made, or is being made, from another request."""

    money = "Nothing more was spent."
    advice = (
        'Give it another output, or say what to do: on_changed_request="regenerate" pays for a new video, '
        '"keep" stays with the one that there is.'
    )


class VeoAlreadyPaidError(VeoRequestChangedError):
    """This try, or another task since an earlier one, has paid for the output: to go on would pay again."""


class VeoUnknownReceiptError(VeoSubmissionUnknown):
    """A submission is of unknown fate, and its receipt keeps everybody from submitting again."""

    advice = (
        f'Look for it in {TASK_LOG}. If it is there, put its id as "veo_task_id" and "state": "submitted" '
        "into the receipt; if it is not, run the task once with "
        'on_unknown_submission="resubmit". Then clear this task.'
    )


class VeoReceiptChangedError(VeoError):
    """Another attempt has changed the receipt to something else meanwhile."""

    money = "Nothing more was spent."
    advice = "The next attempt reads it again."
    retryable = True


class VeoRecordLostError(VeoError):
    """A submission was accepted, but its receipt could not be written."""

    money = "It will be charged when it completes."
    advice = 'To go on with it, put "state": "submitted" and the id as "veo_task_id" into the receipt.'


class VeoReceiptError(VeoError):
    """A receipt is damaged, of a newer version, or kept where it protects nothing."""

    money = "Nothing more was spent."
    advice = "Nothing is submitted past it. Correct what is said above, and clear the task."


class VeoReceiptDeniedError(VeoReceiptError):
    """The store keeps no receipt: it refuses access, has no such bucket, or the connection is wrong."""

    advice = "Nothing is submitted without a receipt. Correct what is said above, and clear the task."


class VeoReceiptUnavailableError(VeoError):
    """A receipt cannot be read or written now, which is never taken for there being none."""

    money = "Nothing more was spent."
    advice = "Nothing is submitted without a receipt; trying again is safe."
    retryable = True


class ReceiptConflictError(Exception):
    """Somebody else has written the receipt since it was read; read it again."""


class VeoOutageError(VeoError):
    """Nothing has succeeded for a long time."""

    money = "What was submitted is kept by its receipts."
    advice = "Trying again is safe."
    retryable = True


class VeoReceiptsDeniedError(VeoError):
    """The receipts may not be read, so that nobody knows what is paid."""

    money = "Nothing is submitted without its receipt."
    advice = "Allow s3:ListBucket on the bucket, and s3:GetObject and s3:PutObject below the output prefix."


class VeoSummaryUnavailableError(VeoError):
    """A summary or its notes cannot be written or read now."""

    money = "Nothing more was spent."
    advice = "Trying again is safe: what is done is found by its receipt, and only the summary is made anew."
    retryable = True


class VeoSummaryDeniedError(VeoSummaryUnavailableError):
    """The store refuses the summary or its notes, and will refuse them again."""

    advice = "What is done is found by its receipt. Correct what is said above, and clear the task."
    retryable = False


class VeoBatchError(VeoError):
    """Some images of an archive have no video."""

    money = "What was paid for is kept by the receipts, and is not paid for again."
    advice = "The summary says why."


class VeoBatchUnfinishedError(VeoBatchError):
    """Some images have no video yet, for reasons that may pass."""

    advice = "The summary says why. The next attempt goes on with them."
    retryable = True


class VeoWaitTimeoutError(VeoError):
    """A generation was not finished in time; it is not known to have failed."""

    money = "It may still complete, and is then charged once."
    advice = (
        "Its receipt keeps the id: the next attempt waits on for the same generation, and pays nothing more."
    )
    retryable = True


class VeoUploadLostError(VeoStorageError):
    """An upload was taken back while it was under way, by a task that stores the same object."""

    advice = "Trying again is safe."
    retryable = True
