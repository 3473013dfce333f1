"""The operators that spend money, and take care that it is spent once."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator

from veo_provider.api.errors import VeoError, VeoImageError, VeoNotFetchedError, VeoRequestError
from veo_provider.api.request import FAST_MODEL, VeoRequest
from veo_provider.compat import default_deferrable, with_retry_policy
from veo_provider.failures import airflow_failures
from veo_provider.links import VeoTaskLogLink, VeoVideoLink
from veo_provider.operators import fixed_request
from veo_provider.operators.outlets import report_to_outlets
from veo_provider.operators.parameters import (
    as_bool,
    as_connection,
    as_int,
    as_place,
    as_positive,
    as_terms,
    as_text,
    is_nothing,
)
from veo_provider.operators.prompt_files import PromptFiles
from veo_provider.operators.template_fields import TemplateFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.image import Image
    from veo_provider.api.video import Video
    from veo_provider.generation import (
        OnChangedRequest,
        OnLostVideo,
        OnUnknownSubmission,
        Plan,
        Policy,
        WaitForClaim,
    )
    from veo_provider.receipts import Attempt, Held, Receipt, ReceiptStore, S3ReceiptStore
    from veo_provider.s3.multipart_upload import S3Upload
    from veo_provider.s3.uri import S3Uri

_CLAIM_PAUSE = 5.0
"""Seconds between two looks at a receipt that another attempt has claimed."""
_STORING_SECONDS = 600.0
"""How long after its completion another task's video is expected to be stored."""
_STORING_PAUSE = 60.0
"""Seconds between two looks whether it is."""
_REQUEST_FIELDS = (
    "image",
    "prompt",
    "model",
    "seconds",
    "resolution",
    "aspect_ratio",
    "size",
    "seed",
    "negative_prompt",
    "veo_conn_id",
    "aws_conn_id",
    "s3_extra_args",
)


class VeoWaitTimeoutError(VeoError):
    """A generation was not finished in time; it is not known to have failed."""

    money = "It may still complete, and is then charged once."
    advice = (
        "Its receipt keeps the id: the next attempt waits on for the same generation, and pays nothing more."
    )
    temporary = True


class VeoRequestOperator(PromptFiles, BaseOperator):
    """Ask for a video: what the operators share that spend money.

    :param prompt: what happens in the video, and what is heard; or a file with that, ``.txt`` or ``.md``, in
        the DAG's folder or its ``template_searchpath``. (templated)
    :param image: ``s3://bucket/key``, or any path or URI that Airflow's ``ObjectStoragePath`` opens: a
        JPEG, PNG or WebP (by its bytes, not its name) of at most 20 MB. (templated)
    :param model: the model's id, ``veo-3.1-fast-generate-preview`` ($0.30, the default) or
        ``veo-3.1-generate-preview`` ($1.20); any other is sent with a warning. (templated)
    :param seconds: length of the video: ``"4"``, ``"6"`` or ``"8"`` (the default). (templated)
    :param resolution: ``720p`` (the default), ``1080p`` or ``4k``; the latter two are always 8 seconds
        long. (templated)
    :param aspect_ratio: ``16:9`` (the default) or ``9:16``. (templated)
    :param size: output pixels such as ``1280x720``, instead of resolution and aspect ratio. (templated)
    :param seed: an integer that clusters the style; it never reproduces a video. (templated)
    :param negative_prompt: what should not be seen, a text, a list of terms or a file as of ``prompt``.
        (templated)
    :param text_to_video: make the video of the prompt alone. An explicit wish, so that an image that an
        upstream task did not find is never taken for one.
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param aws_conn_id: connection for S3; None uses boto3's own credentials. (templated)
    :param s3_extra_args: options of every object that is written (video, receipt, summary and so on), as
        S3's ``PutObject`` names them, such as ``{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "…"}``;
        default is what the connection says. (templated)
    :param on_unknown_submission: what to do after a submission whose answer was lost, here or in an earlier
        attempt: ``fail`` (the default), or ``resubmit`` at the risk of paying twice.
    :param on_changed_request: what to do if the receipt belongs to another request: ``fail`` (the default),
        ``regenerate`` and pay again, or ``keep`` what there is.
    :param on_lost_video: what to do if an earlier try was charged and the service has no video of it, because
        its filter held the video back or it was not fetched in time: ``fail`` (the default) after another
        free look, or ``regenerate`` and pay again.
    :param max_generations: how many submissions one video may need while the service fails it; default 2.
        A failed one is not charged, and one that moderation refused is not repeated.
    :param allow_unconditional_writes: go on where the receipt's store ignores conditional writes, without
        protection from two tasks that write the same output at once.
    """

    template_fields: Sequence[str] = _REQUEST_FIELDS
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "prompt": "md",
        "negative_prompt": "md",
        "s3_extra_args": "json",
    }
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoTaskLogLink(),)
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        prompt: str,
        image: str | None = None,
        model: str = FAST_MODEL,
        seconds: str | int = "8",
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        size: str | None = None,
        seed: int | str | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        text_to_video: bool = False,
        veo_conn_id: str = "veo_default",
        aws_conn_id: str | None = "aws_default",
        s3_extra_args: dict[str, str | bool] | None = None,
        on_unknown_submission: OnUnknownSubmission = "fail",
        on_changed_request: OnChangedRequest = "fail",
        on_lost_video: OnLostVideo = "fail",
        max_generations: int = 2,
        allow_unconditional_writes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(self, kwargs))
        self.image = image
        self.prompt = prompt
        self.model = model
        self.seconds = seconds
        self.resolution = resolution
        self.aspect_ratio = aspect_ratio
        self.size = size
        self.seed = seed
        self.negative_prompt = negative_prompt
        self.text_to_video = text_to_video
        self.veo_conn_id = veo_conn_id
        self.aws_conn_id = aws_conn_id
        self.s3_extra_args = s3_extra_args
        self.on_unknown_submission = on_unknown_submission
        self.on_changed_request = on_changed_request
        self.on_lost_video = on_lost_video
        self.max_generations = max_generations
        self.allow_unconditional_writes = allow_unconditional_writes
        self._asked: dict[str, Any] | None = None

    def _fix_request(self, context: Context, resumed: dict[str, Any] | None = None) -> None:
        """Ask for what the task asked for when it first ran, however its templates render now."""
        rendered = {name: getattr(self, name) for name in self.template_fields}
        self._asked = fixed_request.fixed(context, rendered, resumed)
        for name, value in fixed_request.plain(rendered).items():
            if self._asked[name] != value:
                setattr(self, name, self._asked[name])
        self._require_connections()

    def _require_connections(self) -> None:
        """Read the connections' ids, of which native rendering makes numbers, too."""
        self.veo_conn_id = as_connection("veo_conn_id", self.veo_conn_id) or ""
        self.aws_conn_id = as_connection("aws_conn_id", self.aws_conn_id, optional=True)

    def _request(self, image: Image | None) -> VeoRequest:
        """Return what is asked for, with templates rendered to nothing taken as not given."""
        prompt = as_text("prompt", self.prompt) or ""
        return VeoRequest(image=image, prompt=prompt, **self._fields())

    def _fields(self) -> dict[str, Any]:
        """Return all of a request but its image and its prompt."""
        return {
            "model": as_text("model", self.model) or "",
            "seconds": as_text("seconds", self.seconds) or "",
            "seed": as_int("seed", self.seed),
            **{name: as_text(name, getattr(self, name)) for name in ("resolution", "aspect_ratio", "size")},
            "negative_prompt": as_terms("negative_prompt", self.negative_prompt),
        }

    def _image(self) -> Image | None:
        from veo_provider.images import find_image

        if not as_bool("text_to_video", self.text_to_video):
            try:
                place = as_place("image", self.image)
            except VeoRequestError as error:
                raise VeoImageError(error.what) from error
            return find_image(place, self.aws_conn_id)
        if not is_nothing(self.image):
            raise VeoRequestError(f"image={self.image!r} and text_to_video=True contradict each other.")
        return None

    def _plan(self, client: VeoClient, receipt: Receipt | None, by: Attempt) -> Plan:
        """Return what is asked for; where it is paid for already, the image need not be there any more."""
        from veo_provider import generation

        account = generation.account_of(self.veo_conn_id, client)
        request_for = self._request
        if receipt is not None and generation.is_retry_of(receipt, by):
            request_for = partial(generation.request_of, receipt)
            self.image = receipt.request.get("image", self.image)
        image = None if self.image is None else str(self.image)
        plan = generation.prepare(self._image, request_for, receipt, image=image, account=account)
        if plan.image_error and receipt:
            self.log.warning("%s It is not needed for %s.", plan.image_error.what, receipt.veo_task_id)
        return plan

    def _policy(self) -> Policy:
        from veo_provider.generation import Policy

        return Policy(
            self.on_unknown_submission,
            self.on_changed_request,
            as_positive("max_generations", self.max_generations),
            self.on_lost_video,
        )

    def _s3_receipts(self, s3: S3Client, target: S3Uri) -> S3ReceiptStore:
        from veo_provider.receipts import S3ReceiptStore

        unconditional = as_bool("allow_unconditional_writes", self.allow_unconditional_writes)
        return S3ReceiptStore(s3, target, unconditional=unconditional)


class VeoSubmitOperator(VeoRequestOperator):
    """Submit an image and a prompt to Veo, and return the API's task id.

    The XCom value is that id, a string. The image is streamed into the request and never held whole.
    Everything that can be checked is checked before any money is spent. The submission is tried again only
    if it provably was not accepted; where its answer was lost, the task fails without a retry
    (:class:`~veo_provider.api.errors.VeoSubmissionUnknown`) and says what to check.

    What was submitted is kept in a receipt, so that a retry returns the same id and pays nothing: in
    Airflow's task state store (Airflow 3.3 and later), or in S3 where ``receipt`` says. Without ``receipt``,
    newer versions of Airflow discard it when the task is cleared, and the clear submits and pays again; on
    versions before 3.3, a retry after a crash does so, too.

    The other parameters are those of :class:`VeoRequestOperator`.

    :param receipt: where to keep the receipt, ``s3://bucket/key``. (templated)
    """

    template_fields: Sequence[str] = (*_REQUEST_FIELDS, "receipt")

    def __init__(self, *, receipt: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.receipt = receipt
        # One that was given and renders to nothing is no wish for none.
        self._has_receipt = receipt is not None

    def execute(self, context: Context) -> str:
        """Submit the generation, unless the receipt knows of one, and return the API's task id."""
        from veo_provider import generation
        from veo_provider.hooks.veo import VeoHook

        with airflow_failures():
            self._fix_request(context)
            with VeoHook(self.veo_conn_id).get_conn() as client:
                store = self._receipt_store(context)
                if store is not None:
                    return self._submit_once(client, store, attempt_of(context))
                self._warn_of_paying_again("No receipt is kept: a retry after a crash, and a clear,")
                image = self._image()
                # With its digest it is sent as it is now, or not at all.
                request = self._request(image.hashed() if image else None)
                return self._tell(generation.submit(client, request).id, request)

    def _receipt_store(self, context: Context) -> ReceiptStore | None:
        from veo_provider.receipts import TaskStateReceiptStore
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        if self._has_receipt or not is_nothing(self.receipt):
            self.receipt = as_place("receipt", self.receipt)
            s3 = s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)
            return self._s3_receipts(s3, S3Uri.parse(self.receipt, "receipt"))
        state = context.get("task_state_store")
        return None if state is None else TaskStateReceiptStore(state)

    def _warn_of_paying_again(self, who: str) -> None:
        self.log.warning(
            "%s may pay again. Keep the receipt in S3, where receipt= says, to rule that out.", who
        )

    def _tell(self, veo_task_id: str, request: VeoRequest) -> str:
        """Say what was bought, before anything else can go wrong."""
        price = f"${request.price_usd:.2f}" if request.price_usd is not None else "an unknown price"
        self.log.info("Submitted as %s; it costs %s when it completes.", veo_task_id, price)
        return veo_task_id

    def _submit_once(self, client: VeoClient, store: ReceiptStore, by: Attempt) -> str:
        """Return the id of the one generation: submitted now, or found in the receipt and not failed."""
        from veo_provider import generation

        before = store.read()
        if not self.receipt:
            found_none = before is None and by.try_number > 1
            self._warn_of_paying_again(
                f"{by} finds no receipt, though there were earlier tries. This submission"
                if found_none
                else "Newer versions of Airflow discard the receipt when a task is cleared. A clear"
            )
        plan, policy = self._plan(client, before.receipt if before else None, by), self._policy()
        while True:
            step, held = generation.advance(store, client, plan, by, policy, is_stored=lambda _: True)
            if isinstance(step, generation.WaitForClaim):
                self.log.info("%s is submitting this video. Waiting for it.", step.by)
                time.sleep(_CLAIM_PAUSE)
                continue
            veo_task_id = held.receipt.veo_task_id or ""
            if held.receipt.claim_id == by.id:
                return self._tell(veo_task_id, plan.request)
            if isinstance(step, generation.Done):
                return veo_task_id
            video = self._look(client, veo_task_id)
            if video is None or video.status is not video.status.FAILED:
                self.log.info("Submitted before, by %s: nothing is paid.", held.receipt.claimed_by)
                return veo_task_id
            generation.record_failure(store, held, video, by)

    def _look(self, client: VeoClient, veo_task_id: str) -> Video | None:
        """Return the generation as it stands, or None: the id is good, whatever its status says now."""
        try:
            return client.get(veo_task_id)
        except VeoError as error:
            self.log.warning("The status of %s cannot be read now: %s", veo_task_id, error.what)
            return None


class VeoImageToVideoOperator(VeoRequestOperator):
    """Turn an image into a video in S3, paid for exactly once: the whole way in one deferrable task.

    Claims the output, submits, waits in the triggerer without a worker slot, and streams the video into S3.
    Its receipt lies beside the video (``clip.mp4.veo.json``) and is read first: a retry, a cleared task,
    another run or a backfill finds there what was submitted and what is done, and pays for nothing twice.

    The XCom value is a dict: ``uri``, ``receipt_uri``, ``veo_task_id``, ``bytes``, ``sha256``,
    ``duration_seconds``, ``width``, ``height`` and ``price_usd``. The events of the task's ``outlets`` carry
    it as their extra.

    The other parameters are those of :class:`VeoRequestOperator`.

    :param output: where the video goes, ``s3://bucket/key.mp4``. (templated)
    :param replace: overwrite an object at ``output`` that has no receipt; default is to fail before any money
        is spent.
    :param poll_interval: seconds, or a ``timedelta``, between two looks at the status; default is a schedule
        that is learned from what generations take.
    :param timeout: seconds, or a ``timedelta``, that one attempt waits for the generation; default two hours.
        The next attempt waits on for the same one.
    :param deferrable: wait in the triggerer (the default, unless Airflow's ``[operators] default_deferrable``
        says otherwise) instead of on a worker.
    """

    template_fields: Sequence[str] = TemplateFields((*_REQUEST_FIELDS, "output_uri"), ("output",))
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoVideoLink(), VeoTaskLogLink())

    def __init__(
        self,
        *,
        output: str,
        replace: bool = False,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float = 2 * 60 * 60,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # `output` is BaseOperator's own attribute: the XComArg of the task.
        self.output_uri = output
        self.replace = replace
        self.poll_interval = None if poll_interval is None else seconds_of(poll_interval)
        self.timeout = seconds_of(timeout)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._upload: S3Upload | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Bring the video into S3, or defer until there is something to do."""
        with airflow_failures():
            self._fix_request(context)
            return self._advance(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Carry on after the trigger; everything that matters is read from the receipt again."""
        from veo_provider.api.video import Video
        from veo_provider.hooks.veo import VeoHook

        with airflow_failures():
            self._fix_request(context, event.get("request"))
            if event["status"] == "claim":
                return self._advance(context, resumed=True)
            target, s3, store = self._places()
            held = self._require_receipt(store)
            if event["status"] == "timeout":
                self._time_out()
            if event["status"] == "error":
                said = event.get("what") or event["message"]
                raise VeoNotFetchedError(
                    f"The video of {held.receipt.veo_task_id} is still to be fetched: {said}"
                )
            video = Video.from_dict(event["video"])
            by = attempt_of(context)
            self._require_known(held.receipt, video, store)
            if not self._is_awaited(held.receipt, video, by):
                return self._advance(context, resumed=True)
            with VeoHook(self.veo_conn_id).get_conn() as client:
                return self._store(context, client, s3, target, store, held, video, by)

    def _is_awaited(self, receipt: Receipt, found: Video, by: Attempt) -> bool:
        """Whether what the trigger found is the completed generation whose video is to be stored."""
        from veo_provider.receipts import ReceiptState

        may_be_replaced = self.on_changed_request == "regenerate" and receipt.claimant != by.task_instance
        return (
            receipt.state is ReceiptState.SUBMITTED
            and not may_be_replaced
            and receipt.veo_task_id == found.id
            and found.status is found.status.COMPLETED
        )

    def on_kill(self) -> None:
        """Take back what was uploaded so far; the generation itself cannot be cancelled."""
        if self._upload is not None:
            self._upload.cancel()

    def _advance(self, context: Context, *, resumed: bool = False) -> dict[str, Any]:
        """Claim and submit as the receipt demands, then wait or store."""
        from veo_provider import generation, storing
        from veo_provider.hooks.veo import VeoHook
        from veo_provider.s3.multipart_upload import abort_leftovers

        by, deadline = attempt_of(context), time.time() + self.timeout
        target, s3, store = self._places()
        before = store.read()
        with VeoHook(self.veo_conn_id).get_conn() as client:
            plan, policy = self._plan(client, before.receipt if before else None, by), self._policy()
            if before is None:
                self._require_free(s3, target)
            while True:
                if policy.on_changed_request == "regenerate":
                    self._let_others_finish(client, store, plan, by, deadline, resumed=resumed)
                step, held = generation.advance(
                    store,
                    client,
                    plan,
                    by,
                    policy,
                    is_stored=partial(storing.holds, s3, target),
                )
                if isinstance(step, generation.Done):
                    self.log.info("%s is there already: nothing to do, nothing to pay.", target)
                    abort_leftovers(s3, target)
                    return self._result(context, store, held)
                if isinstance(step, generation.WaitForClaim):
                    self._wait_for_claim(step, deadline)
                    continue
                video = self._wait_for_video(client, plan.request, held.receipt, deadline)
                if video.status is video.status.FAILED:
                    self.log.warning("The generation %s failed: %s", video.id, video.error_message)
                    generation.record_failure(store, held, video, by)
                    continue
                return self._store(context, client, s3, target, store, held, video, by)

    def _places(self) -> tuple[S3Uri, S3Client, S3ReceiptStore]:
        """Return the video's place, the client for it, and the receipt's place beside it."""
        from veo_provider.receipts import sidecar_of
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        target = S3Uri.parse(as_place("output", self.output_uri), "output")
        s3 = s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)
        return target, s3, self._s3_receipts(s3, sidecar_of(target))

    def _require_receipt(self, store: ReceiptStore) -> Held:
        """Stop where the receipt has been deleted meanwhile: without it, all would be paid anew."""
        from veo_provider.receipts import VeoReceiptError

        held = store.read()
        if held is None:
            raise VeoReceiptError(f"The receipt {store.uri} is gone, though its generation was under way.")
        return held

    def _require_known(self, receipt: Receipt, found: Video, store: ReceiptStore) -> None:
        """Stop where the receipt has been replaced by an older one: the generation would be paid anew."""
        from veo_provider.receipts import VeoReceiptError

        if found.status is found.status.COMPLETED and not receipt.knows(found.id):
            raise VeoReceiptError(
                f"The receipt {store.uri} does not name {found.id}, which was submitted by it and charged."
            )

    def _require_free(self, s3: S3Client, target: S3Uri) -> None:
        """Refuse to overwrite what nobody has a receipt for, while nothing has been spent."""
        from veo_provider.s3.client import head_object

        if not as_bool("replace", self.replace) and head_object(s3, target) is not None:
            raise VeoRequestError(f"{target} exists and has no receipt. Set replace=True to overwrite it.")

    def _let_others_finish(
        self,
        client: VeoClient,
        store: ReceiptStore,
        plan: Plan,
        by: Attempt,
        deadline: float,
        *,
        resumed: bool,
    ) -> None:
        """Let another task finish and store what is to be replaced; one that does not is not waited for long.

        :param resumed: whether the task has waited before.
        """
        from veo_provider import generation
        from veo_provider.triggers.veo import VeoClaimTrigger

        while (held := store.read()) and generation.is_in_flight_elsewhere(
            held.receipt, plan.fingerprint, by
        ):
            self.log.info("%s has not stored the video yet that is to be replaced.", held.receipt.claimed_by)
            video = self._wait_for_video(client, plan.request, held.receipt, deadline)
            ended = video.completed_at or held.receipt.submitted_at or 0.0
            if video.status is video.status.FAILED or time.time() > ended + _STORING_SECONDS:
                return
            if self.deferrable and not resumed:
                kind = {"model": plan.request.model, "submitted_at": held.receipt.submitted_at}
                self._defer(video.id, deadline, kind)
            if self.deferrable:
                trigger = VeoClaimTrigger(_STORING_PAUSE, self._asked)
                self.defer(trigger=trigger, method_name="execute_complete")
            time.sleep(_CLAIM_PAUSE)

    def _wait_for_claim(self, claim: WaitForClaim, deadline: float) -> None:
        """Let another attempt submit, and look again a little later."""
        from veo_provider.triggers.veo import VeoClaimTrigger

        self.log.info("%s is submitting this video. Waiting for it.", claim.by)
        if time.time() >= deadline:
            self._time_out()
        if self.deferrable:
            trigger = VeoClaimTrigger(request=self._asked)
            self.defer(trigger=trigger, method_name="execute_complete")
        time.sleep(_CLAIM_PAUSE)

    def _wait_for_video(
        self, client: VeoClient, request: VeoRequest, receipt: Receipt, deadline: float
    ) -> Video:
        """Return the finished generation, or defer until it is."""
        from veo_provider.waiting import Waiting

        veo_task_id = receipt.veo_task_id or ""
        kind: dict[str, Any] = {
            "model": request.model,
            "resolution": request.effective_resolution,
            "submitted_at": receipt.submitted_at,
        }
        waiting = Waiting(self.poll_interval, **kind)
        while True:
            try:
                video = client.get(veo_task_id)
            except VeoError as error:
                if waiting.ends_with(error):
                    raise VeoNotFetchedError.of(veo_task_id, error) from error
                self.log.warning("%s Waiting on.", error)
                pause = waiting.pause_after(error)
            else:
                waiting.saw(video)
                if video.finished:
                    return video
                pause = waiting.pause()
            if self.deferrable:
                self._defer(veo_task_id, deadline, kind)
            left = deadline - time.time()
            if left <= 0:
                self._time_out()
            time.sleep(min(pause, left))

    def _defer(self, veo_task_id: str, deadline: float, kind: dict[str, Any]) -> NoReturn:
        from veo_provider.triggers.veo import VeoTaskTrigger, defer_to

        trigger = VeoTaskTrigger(
            veo_task_id, self.veo_conn_id, self.poll_interval, deadline, **kind, request=self._asked
        )
        defer_to(trigger, self, self.timeout)

    def _store(
        self,
        context: Context,
        client: VeoClient,
        s3: S3Client,
        target: S3Uri,
        store: ReceiptStore,
        held: Held,
        video: Video,
        by: Attempt,
    ) -> dict[str, Any]:
        """Stream the video into its place, and record it."""
        from veo_provider import generation, storing
        from veo_provider.s3.multipart_upload import abort_leftovers

        generation.require_place(store, held)
        veo_task_id = held.receipt.veo_task_id or ""
        try:
            # A worker that was killed after the upload leaves the video without its record.
            stored = storing.find(s3, target, veo_task_id)
            if stored is None:
                self._upload = storing.upload_to(s3, target, veo_task_id, self.model)
                asked = held.receipt.request.get("seconds")
                stored = storing.store(client, veo_task_id, str(target), self._upload, asked_seconds=asked)
        except VeoError as error:
            raise generation.not_stored(store, held, error, video, by) from error
        held = generation.record_video(store, held, stored.to_dict(), by)
        abort_leftovers(s3, target)
        return self._result(context, store, held)

    def _result(self, context: Context, store: ReceiptStore, held: Held) -> dict[str, Any]:
        """Return what the task tells, and tell the same to its outlets."""
        video = held.receipt.video or {}
        result = {**video, "receipt_uri": store.uri, "price_usd": held.receipt.price_usd}
        report_to_outlets(context, self.outlets, result)
        return result

    def _time_out(self) -> None:
        raise VeoWaitTimeoutError(f"The generation was not finished within {self.timeout:.0f} s.")


def attempt_of(context: Context) -> Attempt:
    """Return who acts, as the receipt names it."""
    from veo_provider.receipts import Attempt

    instance = context.get("ti")
    if instance is None:
        return Attempt("a call outside of Airflow")
    name = f"{instance.dag_id} / {instance.run_id} / {instance.task_id}"
    map_index = getattr(instance, "map_index", -1)
    tries = fixed_request.tries_of(context)
    return Attempt(
        name if map_index in (None, -1) else f"{name} [{map_index}]",
        instance.try_number,
        first_try=tries.first_try if tries else None,
        most_tries=tries.most_tries if tries else None,
    )


def seconds_of(duration: timedelta | float) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
