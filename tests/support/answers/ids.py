"""Ids that are not like ``task_`` and 32 characters."""

from support.answers.row import TASK, Group, Poll, Row, Submit, answer, github

OPERATION = "models/veo-3.1-generate-preview/operations/abc123"
BASE64 = "cHJvamVjdHMv" * 14
GEMINI = "https://ai.google.dev/gemini-api/docs/video"
XAI = "https://docs.x.ai/developers/model-capabilities/video/generation"
LITELLM = "video_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDpzb3JhLTI7dmlkZW9faWQ6dmlkZW9fMTIz"


def named(name: str, kept: str | None, poll: Poll = Poll.AGAIN, source: str = "own", **ids: object) -> Row:
    """Return a row of an object with such ids.

    :param kept: the id that a submission keeps; None if it finds none.
    """
    body = {"object": "video", "status": "queued", **ids}
    submit = Submit.TAKEN if kept else Submit.UNKNOWN
    return Row(name, (answer("200 OK", body),), submit, poll, source=source, kept=kept or "")


IDS = Group(
    "Unusual ids",
    "Any text without spaces is an id. A response with another id is about another task.",
    [
        named("only task_id", TASK, Poll.WAITS, github("Wei-Shaw/sub2api#5314"), task_id=TASK),
        named("id of null", TASK, Poll.WAITS, id=None, task_id=TASK),
        named("a row number beside the id", TASK, Poll.WAITS, id=183745, task_id=TASK),
        named("a row number alone", "183745", Poll.WAITS, id=183745),
        named("an operation of Google beside the id", TASK, Poll.WAITS, id=OPERATION, task_id=TASK),
        named("an operation of Google", OPERATION, source=GEMINI, id=OPERATION),
        named("an operation in Base64", BASE64, source=github("QuantumNous/new-api#2417"), id=BASE64),
        named("LiteLLM's id", LITELLM, source=github("BerriAI/litellm#16192"), id=LITELLM),
        named("a dash first", "-V1StGXR8_Z5jdHi6B", id="-V1StGXR8_Z5jdHi6B"),
        named("a question mark", "video?x=1", id="video?x=1"),
        named("a step in a path", None, id=".."),
        named("a space", None, id="task 1"),
        named("9,000 characters", None, id="x" * 9_000),
        named("an empty id", None, Poll.WAITS, id=""),
        named("an object for an id", None, Poll.WAITS, id={"a": 1}),
        named("only request_id", None, Poll.WAITS, XAI, request_id="a9395fb9"),
    ],
)
