"""Videos and images for the browser: through Airflow in constant memory, or by a redirect to S3.

A link names a receipt, or an object that the transfer operator stored, and never what to read by itself:
whoever may edit XComs could name any object. The receipt names the video, the image and the task that paid;
the object's metadata name the task that stored it. Only who may read that task's DAG gets them. A contact
sheet is only linked from the folder of its own run, and its link names that run's DAG.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from airflow.configuration import conf
from fastapi import HTTPException
from fastapi.responses import RedirectResponse, StreamingResponse
from itsdangerous import BadData, URLSafeTimedSerializer

from veo_provider import airflow_config
from veo_provider.exceptions import VeoError
from veo_provider.generation.posters import poster_beside
from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object, s3_client
from veo_provider.s3.uri import S3Uri
from veo_provider.ui import rights, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi.responses import Response

    What = Literal["video", "image", "poster", "object", "sheet"]

LINK_SECONDS = 15 * 60
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=\d*-\d*")
_SAFE_TYPE = re.compile(r"(video|image)/(?!svg)[a-z0-9.+-]+")


class MediaLinks:
    """Makes the links for one viewer.

    A ``<video>`` sends no token on Airflow 3.0, so the link itself carries the viewer, for a while.
    """

    def __init__(self, user: Any) -> None:
        self._viewer = rights.serialized(user)
        self._signer = _signer()
        self._home = airflow_config.page_path()

    def add_to(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add the links of a row's video, poster and image, where it has any."""
        receipt, made = row.get("receipt"), row.get("group") == "made"
        if receipt:
            row["video_url"] = self._link("video", receipt) if made else None
            row["poster_url"] = self._link("poster", receipt) if made else None
            row["image_url"] = self._link("image", receipt) if row.get("image") else None
        elif row.get("object") and made:
            row["video_url"] = self._link("object", row["object"])
        return row

    def sheet(self, sheet: S3Uri, dag_id: str) -> str:
        """Return the link of a contact sheet.

        :param sheet: in the folder of its own run.
        :param dag_id: of that run.
        """
        return self._link("sheet", str(sheet), dag_id)

    def _link(self, what: What, uri: str, dag_id: str = "") -> str:
        return f"{self._home}/media/{self._signer.dumps([what, uri, dag_id, self._viewer])}"


def serve(token: str, asked_range: str | None) -> Response:
    """Return the video or the image that a link names, or a part of it.

    :raises HTTPException: 403, 404, 416 or 502.
    """
    try:
        what, uri, dag_id, viewer = _signer().loads(token, max_age=LINK_SECONDS)
        user = rights.user_of(viewer)
    except (BadData, ValueError, TypeError, KeyError):
        raise HTTPException(403, "This link has expired: open the page again.") from None
    try:
        target, dag_ids = _found(what, uri, dag_id, int(time.time() // 60))
    except VeoError:
        raise _missing() from None
    if not any(rights.may_read(user, dag_id) for dag_id in dag_ids):
        raise HTTPException(403, "You may not see this video.")
    if settings.media() == "presigned":
        params = {"Bucket": target.bucket, "Key": target.key}
        url = _signing_client(int(time.time() // 60)).generate_presigned_url(
            "get_object", Params=params, ExpiresIn=LINK_SECONDS
        )
        return RedirectResponse(url, 307)
    return _stream(target, asked_range)


def origin() -> str:
    """Return where presigned links lead to, for the page's content security policy."""
    from urllib.parse import urlsplit

    parts = urlsplit(client().meta.endpoint_url)
    return f"{parts.scheme}://{parts.netloc}"


def client() -> Any:
    """Return boto3's client; its connection is looked up again every minute."""
    return _client(settings.aws_conn_id(), int(time.time() // 60))


@lru_cache(maxsize=2)
def _client(conn_id: str | None, _minute: int) -> Any:
    return s3_client(conn_id)


@lru_cache(maxsize=1)
def _signing_client(_minute: int) -> Any:
    """Return a client that signs by version 4, which newer regions and KMS ask for."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config

    return S3Hook(settings.aws_conn_id(), config=Config(signature_version="s3v4")).get_conn()


@lru_cache(maxsize=4096)
def _found(what: What, uri: str, dag_id: str, _minute: int) -> tuple[S3Uri, frozenset[str]]:
    """Return the object that a link names, and the DAGs that its receipt or its metadata vouch for."""
    s3 = client()
    if what == "sheet":
        return S3Uri.parse(uri, "sheet"), frozenset({dag_id})
    if what == "object":
        target = S3Uri.parse(uri, "object")
        head = head_object(s3, target)
        metadata = head["Metadata"] if head else {}
        return target, _dags_of([unquote(metadata.get("veo_stored_by", ""))])
    stored = S3ReceiptStore(s3, S3Uri.parse(uri, "receipt")).read()
    if stored is None:
        raise _missing()
    receipt = stored.receipt
    dag_ids = _dags_of([receipt.claimant, *(one.task_instance for one in receipt.submissions)])
    if what == "image":
        return S3Uri.parse(str(receipt.request.get("image")), what), dag_ids
    video = S3Uri.parse(str((receipt.video or {}).get("uri")), what)
    if str(sidecar_of(video)) != uri:
        raise _missing()  # a receipt that was copied to another place
    if what == "video":
        return video, dag_ids
    poster = poster_beside(video)
    if head_object(s3, poster) is not None:
        return poster, dag_ids
    return S3Uri.parse(str(receipt.request.get("image")), "image"), dag_ids  # stands in


def _dags_of(task_instances: list[str]) -> frozenset[str]:
    return frozenset(one.partition(" / ")[0] for one in task_instances if " / " in one)


def get(target: S3Uri, missing: str, **asked: str) -> Any:
    """Return S3's answer for an object; None if it has not changed since ``IfNoneMatch``.

    :param missing: what to say if there is none.
    :raises HTTPException: 404, 416 or 502.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return client().get_object(Bucket=target.bucket, Key=target.key, **asked)
    except (BotoCoreError, ClientError) as error:
        status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == HTTPStatus.NOT_MODIFIED:
            return None
        said = {HTTPStatus.NOT_FOUND: missing, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "No such part."}
        raise HTTPException(
            status if status in said else 502, said.get(status, "S3 does not answer.")
        ) from None


def _stream(target: S3Uri, asked_range: str | None) -> Response:
    asked = {"Range": asked_range} if asked_range and _RANGE.fullmatch(asked_range) else {}
    found = get(target, "There is no such video.", **asked)
    return StreamingResponse(
        _parts(found["Body"]), 206 if "ContentRange" in found else 200, _headers(found), _type_of(found)
    )


def _headers(found: Mapping[str, Any]) -> dict[str, str]:
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(found["ContentLength"]),
        "ETag": found["ETag"],
        "Content-Encoding": "identity",  # else Airflow's compression would break the ranges
        "Cache-Control": f"private, max-age={LINK_SECONDS}",
    }
    if "ContentRange" in found:
        headers["Content-Range"] = found["ContentRange"]
    if _type_of(found) == "application/octet-stream":
        headers["Content-Disposition"] = "attachment"
    return headers


def _type_of(found: Mapping[str, Any]) -> str:
    """Return the type of an object if a browser runs no script in it."""
    kind = str(found.get("ContentType", "")).lower()
    # Many tools store images without a type; the browser looks into the bytes of an <img>.
    return kind if _SAFE_TYPE.fullmatch(kind) else "application/octet-stream"


def _parts(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(_CHUNK)
    finally:
        body.close()


def _missing() -> HTTPException:
    return HTTPException(404, "There is no such video.")


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="veo-media")
