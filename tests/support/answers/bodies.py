"""Bodies that are not what the API documents."""

from support.answers.row import (
    TASK,
    Content,
    Group,
    Poll,
    Row,
    Submit,
    answer,
    as_bytes,
    error,
    github,
    page,
    video,
)

VIDEO = as_bytes(video())
TROUBLE = as_bytes({"type": "error", "error": {"type": "upstream_error", "message": "stream_read_error"}})
UPSTREAM = '{"id": "upstream_1", "status": "queued"}'
SSE = b"text/event-stream"
LOGIN = page("200 OK", b"<html><form action=/login>")

BODIES = Group(
    "Unusual bodies",
    "If the body contains an id, the id is kept; otherwise nothing is known.",
    [
        Row("200 without a body", (answer("200 OK"),), source=github("decolua/9router#3051")),
        Row("202 without a body", (answer("202 Accepted"),), source=github("vercel/ai#17308")),
        Row("204", (answer("204 No Content", kind=None, length=False),), content=Content.CUT),
        Row("200 with null", (answer("200 OK", None),)),
        Row("200 with a page", (page("200 OK", b"<html>"),), source=github("lidge-jun/opencodex#645")),
        Row(
            "302 to a login page",
            (page("302 Found", b"", b"Location: /linked"),),
            linked=(LOGIN,),
            source=github("VirtoCommerce/vc-platform#3093"),
        ),
        Row("302 to nowhere", (page("302 Found", b"", b"Location: http://[::1"),)),
        Row(
            "302 to itself",
            (page("302 Found", b"", b"Location: /linked"),),
            linked=(page("302 Found", b"", b"Location: /linked"),),
        ),
        Row(
            "200 with an error",
            (answer("200 OK", {"error": {"code": 502, "message": "Provider returned error"}}),),
            source=github("langchain-ai/langchain#40380"),
        ),
        Row(
            "200 with a refusal",
            (answer("200 OK", error("No models available")),),
            source=github("BerriAI/litellm#27030"),
        ),
        Row(
            "200 with an error in a text",
            (answer("200 OK", {"error": "maximum connections reached"}),),
            source=github("razzamatazm/mustarrd#365"),
        ),
        Row(
            "200 with a code below zero",
            (answer("200 OK", {"code": -1, "message": "gen video failed"}),),
            source=github("all-in-aigc/sorafm#3"),
        ),
        Row(
            "201 with a failure that upstream took",
            (answer("201 Created", {"code": "fail_to_fetch_task", "message": UPSTREAM, "data": None}),),
            source=github("TokenNotIncluded/api.lmm.best#435"),
        ),
        Row(
            "200 with an error and an id",
            (answer("200 OK", {**error("internal"), "id": TASK}),),
            Submit.NAMED,
        ),
        Row(
            "wrapped in data",
            (answer("200 OK", {"code": "success", "message": "", "data": video()}),),
            Submit.TAKEN,
            Poll.WAITS,
            source="https://github.com/QuantumNous/new-api/blob/main/dto/task.go",
        ),
        Row(
            "wrapped in data, with a state of -1",
            (
                answer(
                    "200 OK", {"status": 200, "message": "success", "data": {"task_id": TASK, "state": -1}}
                ),
            ),
            Submit.TAKEN,
            source=github("harry0703/MoneyPrinterTurbo#727"),
        ),
        Row(
            "an id alone in data",
            (answer("200 OK", {"code": "success", "message": "", "data": TASK}),),
            Submit.NAMED,
            source="https://github.com/QuantumNous/new-api/blob/main/relay/channel/task/suno/adaptor.go",
        ),
        Row("a list of one", (answer("200 OK", [video()]),), Submit.NAMED),
        Row("JSON in a text of JSON", (answer("200 OK", VIDEO.decode()),)),
        Row(
            "a space first",
            (answer("200 OK", b"  \n" + VIDEO),),
            Submit.TAKEN,
            Poll.WAITS,
            source=github("jundot/omlx#2066"),
        ),
        Row(
            "a byte order mark first", (answer("200 OK", b"\xef\xbb\xbf" + VIDEO),), Submit.TAKEN, Poll.WAITS
        ),
        Row("UTF-16", (answer("200 OK", VIDEO.decode().encode("utf-16")),), Submit.TAKEN, Poll.WAITS),
        Row(
            "two objects",
            (answer("200 OK", VIDEO + b"\n" + TROUBLE),),
            Submit.NAMED,
            source=github("Wei-Shaw/sub2api#1471"),
        ),
        Row(
            "an error before the object",
            (answer("200 OK", b'{"error":500.0,"status":"no"}' + VIDEO),),
            Submit.NAMED,
            source=github("Icinga/icinga2#5879"),
        ),
        Row(
            "events instead of an object",
            (answer("200 OK", b"data: " + VIDEO + b"\n\ndata: [DONE]\n\n", kind=SSE),),
            Submit.NAMED,
            source=github("openclaw/openclaw#97474"),
        ),
        Row(
            "events behind a comment",
            (answer("200 OK", b": OPENROUTER PROCESSING\n\nevent: video\ndata: " + VIDEO + b"\n\n"),),
            Submit.NAMED,
            source=github("diegosouzapw/OmniRoute#11036"),
        ),
        Row(
            "a heartbeat inside of the object",
            (answer("200 OK", VIDEO[:-20] + b": keepalive\n\n" + VIDEO[-20:]),),
            Submit.NAMED,
            source=github("james-6-23/codex2api#696"),
        ),
        Row(
            "an event of an error",
            (answer("200 OK", b"data: " + TROUBLE + b"\n\n", kind=SSE),),
            source=github("BerriAI/litellm#18757"),
        ),
        Row("JSON called a page", (page("200 OK", VIDEO),), Submit.TAKEN, Poll.WAITS),
        Row(
            "JSON called plain text", (answer("200 OK", VIDEO, kind=b"text/plain"),), Submit.TAKEN, Poll.WAITS
        ),
        Row("JSON in single quotes", (answer("200 OK", VIDEO.replace(b'"', b"'")),)),
        Row("brackets without an end", (answer("200 OK", b"[" * 100_000),)),
    ],
)
