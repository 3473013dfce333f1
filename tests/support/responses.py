"""Responses of the API, in the forms of its gateways."""

import json

from veo_provider.api.http.response import Response

TASK = "task_" + "a1B2" * 8


def response_with(status=200, body=None, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response.received(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def video_object(**fields):
    base = {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", "progress": 0}
    return {**base, "model": "veo-3.1-fast-generate-preview", "created_at": 1_700_000_000, **fields}


def openai_shape(message, code="", kind="new_api_error"):
    return {"error": {"message": message, "type": kind, "code": code}}


def gateway_shape(message, code):
    return {"code": code, "message": message, "data": None}


def upstream(message, *, status=404, name="NOT_FOUND"):
    inner = {"error": {"code": status, "message": message, "status": name}}
    return gateway_shape(json.dumps(inner), "fail_to_fetch_task")
