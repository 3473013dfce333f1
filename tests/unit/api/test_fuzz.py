"""Fifty thousand malformed answers: only our errors come out, and none that would pay twice."""

import json
import random
import time
from collections import Counter

import pytest

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response
from veo_provider.api.parsing import task_ids
from veo_provider.api.parsing.download import parse_content
from veo_provider.api.video import Video, VideoStatus

ANSWERS = 50_000
TASK = "task_" + "a1B2" * 8
KEY = "sk-fuzz-0123456789abcdef"
MAYBE_ACCEPTED = {*range(100, 400), 408, 425, 499, *range(501, 503), *range(504, 600)}
"""After any of these nobody knows whether a submission was taken, whatever the body says."""
STATUSES = [200, 201, 202, 204, 206, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 408, 410, 413]
STATUSES += [425, 429, 451, 499, 500, 502, 503, 504, 520, 524, 529]
REAL = [
    {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", "progress": 0, "created_at": 1.7e9},
    {"id": TASK, "status": "completed", "progress": "100%", "completed_at": 1_700_000_100, "model": "veo"},
    {"id": TASK, "status": "failed", "error": {"code": "PUBLIC_ERROR_UNSAFE", "message": "no"}},
    {"error": {"message": "slow down", "type": "new_api_error", "code": "upstream_load_saturated"}},
    {"error": {"message": f"bad key {KEY}", "type": "new_api_error", "code": ""}},
    {"error": {"message": "user quota is not enough", "code": "insufficient_user_quota"}},
    {"error": {"code": 500, "status": "INTERNAL", "message": "oops"}},
    {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "busy"}},
    {"code": "task_not_exist", "message": "task_not_exist", "data": None},
    {"code": "fail", "message": json.dumps({"error": {"code": "x", "message": "violates our policy"}})},
    {"url": "https://cdn.example/v.mp4"},
    {"success": True, "data": {"quota": 1_250_000, "username": "x"}},
]
NAMES = ["id", "task_id", "status", "error", "code", "type", "message", "data", "url", "quota", "progress"]
NAMES += ["model", "created_at", "completed_at", "success", "object"]
WORDS = ["queued", "completed", "failed", "INTERNAL", "PUBLIC_X", "safety", "balance", "not_found", TASK, KEY]
WORDS += ["upstream_load_saturated", "task x not found", "{", '{"error":', "\ud800", "\0", "é" * 9, "", " "]
WORDS += ["http://[", "//x", "file:///etc/passwd", "http://\u2100/", "inf", "1e999", "9" * 500, "\n\r\t"]
NUMBERS = [0, -1, 1e308, -1e308, 10**320, float("nan"), float("inf"), 2**63, 0.1, True, False, None]
HEADERS = ["Retry-After", "Content-Type", "Location", "Content-Length"]
VALUES = ["", "7", "-1", "9" * 400, "1e9", "Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 99 Foo 0000 99:99:99 GMT"]
VALUES += ["Sun, 06 Nov 1994 08:49:37 -9999", "application/json", "text/html; charset=\xff", "video/mp4"]
VALUES += ["https://cdn.example/v.mp4", "http://[::1", "http://]", "javascript:1", "//", "http://x:99999999/"]
NESTED = [b"[" * 100_000, b'{"error":' * 20_000, b'{"data":' * 500 + b"1" + b"}" * 500]


def value(rng, depth=0):
    """Return any JSON value, with the API's names where it is an object."""
    kind = rng.random()
    if depth < 4 and kind < 0.35:
        return {rng.choice(NAMES): value(rng, depth + 1) for _ in range(rng.randrange(6))}
    if depth < 4 and kind < 0.45:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 0.6:
        return rng.choice(NUMBERS)
    if kind < 0.65:
        return json.dumps(value(rng, depth + 1))
    return rng.choice(WORDS)


def damaged(rng, body):
    """Return a body that is cut, has bits flipped, or carries bytes that do not belong there."""
    kind = rng.randrange(4)
    if kind == 0:
        return body[: rng.randrange(len(body) + 1)]
    if kind == 1:
        changed = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 2:
        at = rng.randrange(len(body))
        return body[:at] + rng.randbytes(rng.randint(1, 20)) + body[at:]
    return rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n"]) + body


def malformed(rng):
    """Return one answer as no service should give it."""
    kind = rng.random()
    if kind < 0.4:
        body = damaged(rng, json.dumps(rng.choice(REAL)).encode())
    elif kind < 0.5:
        body = json.dumps(rng.choice(REAL)).encode()
    elif kind < 0.95:
        body = json.dumps(value(rng)).encode("utf-8", "replace")
    elif kind < 0.999:
        body = rng.randbytes(rng.randrange(300))
    else:
        body = rng.choice(NESTED)
    status = rng.choice(STATUSES) if rng.random() < 0.7 else rng.randint(100, 599)
    headers = {
        name: rng.choice(VALUES) if rng.random() < 0.9 else rng.randbytes(12).decode("latin-1")
        for name in HEADERS
        if rng.random() < 0.4
    }
    return Response.received(status, body, headers, secrets=(KEY, ""))


def readings(rng, answer):
    """Yield each reader with what it is given beside the answer."""
    asked = rng.choice(["", "https://api.example/v1/videos/x/content"])
    yield "submission", lambda: protocol.parse_submission(answer)
    yield "video", lambda: protocol.parse_video(answer, rng.choice([None, TASK]))
    yield "content", lambda: parse_content(answer, asked, own_host=rng.random() < 0.5)
    yield "balance", lambda: protocol.parse_balance(answer)
    yield "check", lambda: protocol.parse_check(answer)


def read(reading):
    """Return what a reader returned, or the error of ours that it raised."""
    try:
        return reading()
    except exceptions.VeoError as error:
        return error


def may_be_repeated(result):
    """Whether a submission that ended so is sent once more, by us or by Airflow's retries."""
    return isinstance(result, exceptions.VeoError) and result.retryable


def test_only_our_errors_come_out_of_any_answer_and_none_retries_a_submission():
    """A reader returns what it promises or raises our error; what may be accepted is never sent again."""
    rng = random.Random(3)  # noqa: S311 - the same answers each time
    seen, began = Counter(), time.perf_counter()
    for number in range(ANSWERS):
        answer = malformed(rng)
        for name, reading in readings(rng, answer):
            where = f"answer {number} to {name}: {answer.status} {answer.body[:300]!r} {dict(answer.headers)}"
            try:
                result = read(reading)
            except Exception as error:  # noqa: BLE001 - any of them is a find
                pytest.fail(f"{where} raised {error!r}")
            seen[name, type(result).__name__] += 1
            if isinstance(result, exceptions.VeoError):
                str(result).encode()
                assert KEY not in str(result), where
            if isinstance(result, exceptions.VeoRateLimitError) and name == "submission":
                assert answer.status in range(400, 452), where
            if isinstance(result, Video):
                assert task_ids.check_task_id(result.id), where
                assert answer.ok or name == "video", where
                json.dumps(result.to_dict()).encode()
            if name == "submission":
                assert not (may_be_repeated(result) and answer.status in MAYBE_ACCEPTED), where
                assert isinstance(result, (Video, exceptions.VeoError)), where
    print(f"{ANSWERS} answers in {time.perf_counter() - began:.1f} s")
    for (name, kind), count in sorted(seen.items()):
        print(f"{name:>10} {kind:<26} {count}")
    # The answers reach every error that an answer can mean.
    assert {kind for name, kind in seen if name == "submission"} >= {
        "Video",
        "VeoSubmissionUnknown",
        "VeoRateLimitError",
        "VeoQuotaError",
        "VeoModerationError",
        "VeoAuthenticationError",
        "VeoBadRequestError",
    }


@pytest.mark.parametrize("body", NESTED, ids=["lists", "errors", "data"])
@pytest.mark.parametrize("status", [200, 400, 429, 503])
def test_deep_nesting_is_no_more_than_a_bad_answer(status, body):
    """An answer nested a hundred thousand deep is an error of ours, or a video that was asked for."""
    for reading in (protocol.parse_submission, protocol.parse_video, protocol.parse_balance):
        with pytest.raises(exceptions.VeoError):
            reading(Response.received(status, body, {}))


def test_a_whole_answer_still_reads():
    """The answers that are damaged here are read as they are when they are whole."""
    videos = [
        protocol.parse_video(Response.received(200, json.dumps(real).encode(), {})) for real in REAL[:3]
    ]
    assert [video.status for video in videos] == [
        VideoStatus.QUEUED,
        VideoStatus.COMPLETED,
        VideoStatus.FAILED,
    ]
