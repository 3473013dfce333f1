"""Refusals, and what only looks like one."""

import json

from support.answers.row import TASK, Content, Group, Poll, Row, Submit, answer, error, github, page

NEW_API = "https://github.com/QuantumNous/new-api/blob/main/types/error.go"
NEW_API_RELAY = "https://github.com/QuantumNous/new-api/blob/main/controller/relay.go"
NEW_API_VIDEO = "https://github.com/QuantumNous/new-api/blob/main/controller/video_proxy.go"
OPENAI = "https://platform.openai.com/docs/guides/error-codes"
APIYI = "https://docs.apiyi.com/ja/api-capabilities/veo-3-1-official/overview"
VLLM_OMNI = "https://github.com/vllm-project/vllm-omni"
LITELLM = "https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/exception_mapping_utils.py"
RFC = "https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5"
GOOGLE = json.dumps(
    {"error": {"code": 404, "message": "models/x is no longer available", "status": "NOT_FOUND"}}
)
RETIRED = {"code": "fail_to_fetch_task", "message": GOOGLE, "data": None}
XAI_MODERATED = {
    "code": "Client specified an invalid argument",
    "error": "Generated video rejected by content moderation.",
    "usage": {"cost_in_usd_ticks": 2_500_000_000},
}
DETAIL = {
    "detail": [{"loc": ["body", "seconds"], "msg": "Input should be a valid integer", "type": "int_type"}]
}
NO_TASK = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
UNSAFE = error("PUBLIC_ERROR_UNSAFE_GENERATION", "")
PROMPT = "The prompt could not be submitted. It contains words that violate Vertex AI's usage guidelines."


def relayed(upstream: object, outcome: str) -> dict[str, object]:
    """Return what LiteLLM's proxy makes of an upstream's error."""
    text = f"litellm.BadRequestError: OpenAIException - {json.dumps(upstream)}"
    return error(f"{text}\n\nLiteLLM: model group 'veo' failed with the error above. {outcome}", "400")


CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title>"

REFUSALS = Group(
    "Refusals, and responses that only look like one",
    "A submission is refused if status and form say so for certain. After acceptance, nothing is refused.",
    [
        Row(
            "400 that names a wrong field",
            (answer("400 Bad Request", error("Invalid value: 'seconds'", "invalid_value")),),
            Submit.REFUSED,
            source=OPENAI,
        ),
        Row(
            "400 in new-api's other form",
            (
                answer(
                    "400 Bad Request", {"code": "parse_request_failed", "message": "cannot unmarshal number"}
                ),
            ),
            Submit.REFUSED,
            source=NEW_API,
        ),
        Row(
            "400 whose message speaks of trouble upstream",
            (answer("400 Bad Request", {"error": {"code": 500, "message": "oops", "status": "INTERNAL"}}),),
            source=APIYI,
        ),
        Row(
            "400 whose code says success",
            (answer("400 Bad Request", {"code": "success", "message": "ok", "data": None}),),
        ),
        Row(
            "400 that describes a task",
            (answer("400 Bad Request", {**error("cannot be shown", "x"), "task_id": TASK}),),
            Submit.NAMED,
        ),
        Row(
            "401 about the key",
            (answer("401 Unauthorized", error("Invalid token")),),
            Submit.KEY,
            Poll.KEY,
            Content.KEY,
            NEW_API,
        ),
        Row(
            "401 as a page",
            (page("401 Unauthorized", b"<h1>401 Authorization Required</h1>"),),
            poll=Poll.KEY,
        ),
        Row(
            "401 in LLM Gateway's older form",
            (
                answer(
                    "401 Unauthorized", {"error": True, "status": 401, "message": "Unauthorized: usage limit"}
                ),
            ),
            poll=Poll.KEY,
            source=github("theopenco/llmgateway#2532"),
        ),
        Row(
            "402",
            (answer("402 Payment Required", error("Insufficient credits", 402)),),
            Submit.EMPTY,
            source="https://openrouter.ai/docs/api-reference/errors",
        ),
        Row(
            "403 for an empty account",
            (answer("403 Forbidden", error("user quota is not enough", "insufficient_user_quota")),),
            Submit.EMPTY,
            source=NEW_API,
        ),
        Row(
            "429 for an empty account",
            (
                answer(
                    "429 Too Many Requests", error("You exceeded your current quota", "insufficient_quota")
                ),
            ),
            Submit.EMPTY,
            source=OPENAI,
        ),
        Row(
            "400 for an empty budget",
            (
                answer(
                    "400 Bad Request",
                    error("Budget has been exceeded! Max budget: 0.35", "400", "budget_exceeded"),
                ),
            ),
            Submit.EMPTY,
            source=github("open-webui/open-webui#5469"),
        ),
        Row(
            "400 for a wrong key without a database",
            (answer("400 Bad Request", error("No connected db.", "400", "no_db_connection")),),
            Submit.KEY,
            source=github("BerriAI/litellm#20837"),
        ),
        Row(
            "403 for the wrong group",
            (answer("403 Forbidden", error("no access to this group")),),
            Submit.KEY,
            Poll.KEY,
            Content.KEY,
            NEW_API,
        ),
        Row(
            "403 of a firewall in the API's form",
            (answer("403 Forbidden", error("request blocked by the firewall")),),
            Submit.KEY,
        ),
        Row(
            "403 of Cloudflare's challenge",
            (page("403 Forbidden", CHALLENGE, b"cf-mitigated: challenge"),),
            source=github("cloudflare/cloudflare-docs#8590"),
        ),
        Row(
            "404 for a path that is not there",
            (answer("404 Not Found", error("Invalid URL (POST /v1/videos)")),),
            Submit.HOST,
            source=NEW_API_RELAY,
        ),
        Row(
            "404 for a model that has ended",
            (answer("404 Not Found", RETIRED),),
            Submit.ENDED,
            content=Content.LOST,
            source=APIYI,
        ),
        Row(
            "500 for a model that has ended",
            (answer("500 Internal Server Error", RETIRED),),
            Submit.ENDED,
            source=APIYI,
        ),
        Row(
            "400 for an unknown task",
            (answer("400 Bad Request", NO_TASK),),
            Submit.REFUSED,
            Poll.NO_TASK,
            Content.NO_TASK,
            NEW_API,
        ),
        Row(
            "404 for an unknown task",
            (answer("404 Not Found", error("Video with id 'x' not found")),),
            Submit.REFUSED,
            Poll.NO_TASK,
            Content.LOST,
            OPENAI,
        ),
        Row(
            "404 for an unknown task, called an internal error",
            (answer("404 Not Found", error("{'error': 'Video not found'}", "404", "internal_server_error")),),
            content=Content.LOST,
            source=github("BerriAI/litellm#39555"),
        ),
        Row("404 of FastAPI", (answer("404 Not Found", {"detail": "Not Found"}),), source=VLLM_OMNI),
        Row(
            "404 of FastAPI that names the video",
            (answer("404 Not Found", {"detail": "Video not found"}),),
            poll=Poll.NO_TASK,
            source=VLLM_OMNI,
        ),
        Row(
            "400 that LiteLLM relays",
            (answer("400 Bad Request", relayed(UNSAFE, "No fallback was attempted.")),),
            Submit.MODERATED,
            content=Content.HELD,
            source=LITELLM,
        ),
        Row(
            "400 that LiteLLM relays after a fallback",
            (answer("400 Bad Request", relayed(UNSAFE, "Fallback to other also failed: litellm.Timeout")),),
            content=Content.HELD,
            source=LITELLM,
        ),
        Row(
            "429 that LiteLLM makes of a word",
            (
                answer(
                    "429 Too Many Requests",
                    relayed(error("a rate limit upstream"), "No fallback was attempted."),
                ),
            ),
            source=LITELLM,
        ),
        Row("404 of nginx", (page("404 Not Found", b"<html><center>nginx</center>"),)),
        Row("405 as a page", (page("405 Not Allowed", b"<html>"),)),
        Row(
            "410",
            (answer("410 Gone", error("this is gone", "gone")),),
            Submit.REFUSED,
            content=Content.LOST,
            source=RFC,
        ),
        Row(
            "413 of the API",
            (answer("413 Payload Too Large", error("image too large", "too_large")),),
            Submit.REFUSED,
            source=APIYI,
        ),
        Row("413 of nginx", (page("413 Request Entity Too Large", b"<html>"),)),
        Row(
            "422 of the API",
            (answer("422 Unprocessable Content", error("bad aspect ratio", "x")),),
            Submit.REFUSED,
            source=RFC,
        ),
        Row(
            "422 of FastAPI",
            (answer("422 Unprocessable Content", DETAIL),),
            source="https://docs.merge.dev/merge-gateway/api-overview/videos/content",
        ),
        Row(
            "451",
            (answer("451 Unavailable For Legal Reasons", error("not in your country", "region")),),
            Submit.REFUSED,
            source="https://www.rfc-editor.org/rfc/rfc7725.html",
        ),
        Row(
            "400 by the safety filter",
            (answer("400 Bad Request", UNSAFE),),
            Submit.MODERATED,
            content=Content.HELD,
            source=APIYI,
        ),
        Row(
            "400 by the safety filter, in a code",
            (answer("400 Bad Request", error("Your request was rejected.", "moderation_blocked")),),
            Submit.MODERATED,
            content=Content.HELD,
            source=OPENAI,
        ),
        Row(
            "400 by the safety filter, in xAI's form and charged",
            (answer("400 Bad Request", XAI_MODERATED),),
            source=github("vercel/ai#13390"),
        ),
        Row(
            "400 in xAI's form",
            (
                answer(
                    "400 Bad Request", {"code": "invalid-argument", "error": "output.upload_url is needed"}
                ),
            ),
            source=github("tetsuo-ai/agenc-core#2349"),
        ),
        Row(
            "500 by the safety filter",
            (answer("500 Internal Server Error", {"error": "Internal Server Error", "message": PROMPT}),),
            source=github("pollinations/pollinations#6153"),
        ),
        Row(
            "502 for a video that cannot be fetched",
            (answer("502 Bad Gateway", error("Failed to fetch video content", None, "server_error")),),
            source=github("QuantumNous/new-api#2751"),
        ),
        Row(
            "400 for a video that is not ready",
            (answer("400 Bad Request", error("Task is not completed yet, current status: IN_PROGRESS")),),
            Submit.REFUSED,
            source=NEW_API_VIDEO,
        ),
        Row(
            "422 for a completed job, by a content policy",
            (
                answer(
                    "422 Unprocessable Content",
                    {"detail": [{"type": "content_policy_violation", "msg": "flagged"}]},
                ),
            ),
            source=github("camgraphe/MaxVideoAi#288"),
        ),
    ],
)
