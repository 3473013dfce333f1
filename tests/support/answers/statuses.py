"""Objects of a generation, in the words of many gateways."""

from typing import Any

from support.answers.row import TASK, Group, Poll, Row, Submit, answer, error, github, video

WAITS, COMPLETED, FAILED = Poll.WAITS, Poll.COMPLETED, Poll.FAILED
MODERATED = "Veo could not generate 1 videos based on the prompt provided. Support codes: 42237218"
SAFETY = "Request blocked due to safety violations (harmful content). Please modify your input and retry."
AUDIO = "We encountered an issue with the audio for your prompt. This can happen due to our safety filters."


def word(status: object, poll: Poll, source: str = "own", **fields: Any) -> Row:
    """Return a row of an object with a status in somebody's word."""
    return Row(
        f'"{status}"', (answer("200 OK", video(status=status, **fields)),), Submit.TAKEN, poll, source=source
    )


def said(name: str, poll: Poll, source: str = "own", **fields: Any) -> Row:
    """Return a row of an object that says more than its status."""
    return Row(name, (answer("200 OK", video(**fields)),), Submit.TAKEN, poll, source=source)


STATUSES = Group(
    "Statuses of a generation",
    "After an unknown word, polling continues. A failure is believed only if the response names the task.",
    [
        word("queued", WAITS),
        word("in_progress", WAITS, progress=50),
        word("unknown", WAITS, github("QuantumNous/new-api#5045")),
        word("processing", WAITS, "https://docs.ltx.video/async-jobs"),
        word("IN_QUEUE", WAITS, github("TanStack/ai#394")),
        word("NOT_START", WAITS, "https://github.com/QuantumNous/new-api/blob/main/model/task.go"),
        word("starting", WAITS, github("QuantumNous/new-api#6886")),
        word("warming up", WAITS),
        word("", WAITS),
        word(None, WAITS),
        word(2, WAITS),
        word(-1, WAITS),
        word("completed", COMPLETED, progress=100),
        word("COMPLETED", COMPLETED, github("TanStack/ai#394")),
        word("succeeded", COMPLETED, github("replicate/replicate-python#449")),
        word("SUCCESS", COMPLETED, github("QuantumNous/new-api#7194"), progress="100%", fail_reason=""),
        word(
            "done",
            COMPLETED,
            github("QuantumNous/new-api#5927"),
            video={"url": "https://vidgen.example/v.mp4"},
        ),
        word("failed", FAILED),
        word(
            "FAILURE",
            FAILED,
            "https://github.com/QuantumNous/new-api/blob/main/model/task.go",
            fail_reason="no",
        ),
        word("fail", FAILED),
        word("expired", Poll.OPEN, "https://docs.x.ai/developers/rest-api-reference/inference/videos"),
        word("canceled", Poll.OPEN, github("AIProxyTeam/AIProxySwift#27")),
        word("aborted", Poll.OPEN, github("replicate/replicate-python#460")),
        said(
            "completed, with an error",
            Poll.DOUBTED,
            status="completed",
            **error("filtered", "filtered"),
        ),
        said(
            "completed, and nothing says that it was filtered",
            COMPLETED,
            github("QuantumNous/new-api#6858"),
            status="completed",
            progress=100,
        ),
        said("completed, with a progress of 0", COMPLETED, status="completed", progress=0),
        said("in progress, with a progress of 100 %", WAITS, status="in_progress", progress="100%"),
        said("in progress, with a progress in words", WAITS, status="in_progress", progress="almost there"),
        said("in progress, with an error of null", WAITS, status="in_progress", error=None),
        said(
            "in progress, with a time of completion", WAITS, status="in_progress", completed_at=1_700_000_000
        ),
        said(
            "failed by the safety filter",
            Poll.MODERATED,
            github("DaWe35/image-router#41"),
            status="failed",
            **error(MODERATED, "video_failed"),
        ),
        said(
            "failed by the safety filter, in a text",
            Poll.MODERATED,
            github("openstory-so/openstory#1505"),
            status="failed",
            error=SAFETY,
        ),
        said(
            "failed by the filter of speech",
            FAILED,
            github("googleapis/js-genai#1272"),
            status="failed",
            **error(AUDIO, "video_failed"),
        ),
        Row(
            "no status",
            (answer("200 OK", {"request_id": "b53c8bb4", "id": TASK}),),
            Submit.TAKEN,
            source=github("QuantumNous/new-api#5927"),
        ),
        Row(
            "failed, of nobody",
            (answer("200 OK", {"status": "fail", "message": "system busy"}),),
            source="https://github.com/omniti-labs/jsend",
        ),
        Row(
            "failed, of another task",
            (answer("200 OK", {"id": "task_other", "status": "failed"}),),
            Submit.TAKEN,
            kept="task_other",
        ),
        Row(
            "failed, as HTTP 500",
            (answer("500 Internal Server Error", video(status="failed", **error("OOM", "x"))),),
            poll=FAILED,
            source="https://github.com/vllm-project/vllm-omni",
        ),
        Row(
            "completed, as HTTP 500",
            (answer("500 Internal Server Error", video(status="completed")),),
            Submit.NAMED,
            COMPLETED,
        ),
        Row(
            "error, as HTTP 400",
            (answer("400 Bad Request", {"id": TASK, "status": "error", "message": "slow"}),),
        ),
    ],
)
