"""What is a task id, and where a response names one."""

import pytest
from support.responses import TASK, openai_shape, response_with, video_object

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "message": "", "data": TASK},
        [video_object()],
        {"result": video_object()},
        {"success": False, "id": TASK, **openai_shape("oops")},
    ],
)
def test_an_id_in_an_odd_acceptance_is_kept(body):
    """An id in a form that is not the API's is looked up before it is believed."""
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(response_with(200, body))
    assert caught.value.veo_task_id == TASK


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        ({"id": "task_other"}, TASK),
        ({"id": "task_other", "task_id": "task_third"}, TASK),
        ({"id": 7}, "8"),
    ],
)
def test_an_answer_about_another_task_is_none(ids, asked):
    """A proxy that mixes answers up is not believed; asking again is safe."""
    with pytest.raises(exceptions.VeoUnexpectedAnswerError, match="instead of") as caught:
        protocol.parse_video(response_with(200, {"status": "failed", **ids}), asked)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        ({"id": "upstream_id", "task_id": TASK}, TASK),
        ({"id": "models/veo/operations/x"}, "models%2Fveo%2Foperations%2Fx"),
        ({"id": 183745, "task_id": TASK}, TASK),
        ({"id": 183745}, TASK),
        ({"id": 183745}, "183745"),
        ({"id": None}, TASK),
        ({}, TASK),
    ],
)
def test_an_answer_names_its_task_in_several_ways(ids, asked):
    """One of two ids is enough, quoted or not; a number beside it is a gateway's own; none is none."""
    assert protocol.parse_video(response_with(200, {"status": "completed", **ids}), asked).id == asked


def test_a_long_id_is_an_id():
    """Some gateways hand out an encoded operation name, some hundred characters long."""
    long = "cHJvamVjdHM+Lz" * 30 + "=="
    long = long.replace("/", "_")
    assert protocol.parse_submission(response_with(200, video_object(id=long, task_id=long))).id == long
    assert protocol.video_path(long).startswith("/videos/cHJv")


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a b", " x", "x" * 2001, None, 7, "task_\n", "a\0b", "\x7f", "\ud800", "a\u2028"]
)
def test_what_cannot_be_a_task_id_never_becomes_a_url(value):
    """A task id is checked before it becomes a part of a path."""
    with pytest.raises(exceptions.VeoRequestError, match="not a task id"):
        protocol.video_path(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("-V1StGXR8", "/videos/-V1StGXR8"),
        ("task/../../x", "/videos/task%2F..%2F..%2Fx"),
        ("models/veo/operations/a?b=c#d", "/videos/models%2Fveo%2Foperations%2Fa%3Fb%3Dc%23d"),
        ("100%", "/videos/100%25"),
        ("ü", "/videos/%C3%BC"),
    ],
)
def test_an_odd_task_id_stays_one_step_of_the_path(value, path):
    """Google's operation names have slashes; quoted, no character of an id means anything in the URL."""
    assert protocol.video_path(value) == path


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({"id": None, "task_id": TASK}, TASK),
        ({"id": 183745, "task_id": TASK}, TASK),
        ({"id": "models/veo/operations/x", "task_id": TASK}, TASK),
        ({"task_id": TASK}, TASK),
        ({"id": "", "task_id": TASK}, TASK),
        ({"id": 183745}, "183745"),
        ({"id": "models/veo/operations/x"}, "models/veo/operations/x"),
        ({"id": "-V1StGXR8"}, "-V1StGXR8"),
    ],
)
def test_the_id_of_a_paid_submission_is_found(ids, found):
    """The plainest of the two ids is taken, and an odd one rather than none."""
    assert protocol.parse_submission(response_with(200, {"status": "queued", **ids})).id == found


CUT = [
    (f'{{"id": "{TASK}", "obj'.encode(), TASK),
    (f'{{"object":"video","task_id":"{TASK}"'.encode(), TASK),
    (f'\ufeff{{"code":"success","data":{{"task_id":"{TASK}","sta'.encode(), TASK),
    (b'{"id": 183745, "sta', "183745"),
    (b'{"id": "a\\/b", ', "a/b"),
    (b'{"id": 1837', None),
    (b'{"id": "task_a1B2', None),
    (b'{"status": "que', None),
    (b'{"request_id": "x", ', None),
    (b'<script>{"id": "main"}</script>', None),
    (b"", None),
]


@pytest.mark.parametrize(("body", "found"), CUT)
@pytest.mark.parametrize("broken", ["", "reset"])
def test_the_id_in_a_cut_answer_is_kept(body, found, broken):
    """What can be read of a broken answer may name a paid task; half an id is none."""
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(Response.received(200, body, {}, broken=broken))
    assert caught.value.veo_task_id == found
    assert not found or found in str(caught.value)
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(Response.received(502, body, {}, broken=broken))
    assert caught.value.veo_task_id is None
