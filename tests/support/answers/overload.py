"""Too much to do, or trouble behind the gateway."""

from support.answers.row import Group, Poll, Row, Submit, answer, error, github, page, video

CLOUDFLARE = (
    "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/"
)
NGINX = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html"
DISTRIBUTOR = "https://github.com/QuantumNous/new-api/blob/main/middleware/distributor.go"
RFC = "https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5"
BUSY = error("Too many requests", "rate_limit_exceeded")
ENVOY = b"upstream connect error or disconnect/reset before headers. reset reason: connection failure"
EXHAUSTED = {"error": {"code": 429, "message": "Resource exhausted.", "status": "RESOURCE_EXHAUSTED"}}
UNAVAILABLE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}

OVERLOAD = Group(
    "Overload, or problems behind the gateway",
    "A submission is refused only if the gateway itself says that nothing was started.",
    [
        Row(
            "429 with Retry-After in seconds",
            (answer("429 Too Many Requests", BUSY, b"Retry-After: 5"),),
            Submit.LATER,
            source="https://platform.openai.com/docs/guides/rate-limits",
        ),
        Row(
            "429 with Retry-After as a date",
            (answer("429 Too Many Requests", BUSY, b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),),
            Submit.LATER,
            source=github("interviewstreet/hiring-agent#386"),
        ),
        Row(
            "429 with a Retry-After that is none",
            (answer("429 Too Many Requests", BUSY, b"Retry-After: soon"),),
            Submit.LATER,
        ),
        Row("429 as a page", (page("429 Too Many Requests", b"<html><center>nginx</center>"),)),
        Row("429 as a list", (answer("429 Too Many Requests", [EXHAUSTED]),)),
        Row(
            "429 of Google",
            (answer("429 Too Many Requests", EXHAUSTED),),
            Submit.LATER,
            source=github("googleapis/js-genai#1364"),
        ),
        Row(
            "403 for a saturated upstream",
            (answer("403 Forbidden", error("当前分组上游负载已饱和", "upstream_load_saturated")),),
            Submit.LATER,
            source=DISTRIBUTOR,
        ),
        Row(
            "503 without a channel",
            (answer("503 Service Unavailable", error("No available channel", "model_not_found")),),
            Submit.LATER,
            source=DISTRIBUTOR,
        ),
        Row(
            "500 without a channel",
            (answer("500 Internal Server Error", error("none left", "get_channel_failed")),),
            Submit.LATER,
            source="https://github.com/QuantumNous/new-api/blob/main/controller/relay.go",
        ),
        Row(
            "503 of Google",
            (answer("503 Service Unavailable", UNAVAILABLE),),
            source="https://ai.google.dev/gemini-api/docs/troubleshooting",
        ),
        Row(
            "503 of Envoy",
            (answer("503 Service Unavailable", ENVOY, kind=b"text/plain"),),
            source=github("knative-extensions/net-contour#237"),
        ),
        Row(
            "529",
            (
                answer(
                    "529 ", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
                ),
            ),
            source=github("anthropics/claude-code#3558"),
        ),
        Row(
            "500 with a traceback",
            (answer("500 Internal Server Error", error("No models available\n\nTraceback", "500")),),
            source=github("BerriAI/litellm#2487"),
        ),
        Row("500 without a body", (answer("500 Internal Server Error"),)),
        Row("502 of nginx", (page("502 Bad Gateway", b"<html><center>nginx</center>"),), source=NGINX),
        Row(
            "504 in plain text",
            (answer("504 Gateway Timeout", b"Gateway Timeout", kind=b"text/plain"),),
            source=github("openstory-so/openstory#1505"),
        ),
        Row(
            "520 of Cloudflare",
            (page("520 ", b"<!DOCTYPE html>"),),
            source=github("anthropics/claude-code#3197"),
        ),
        Row("522 of Cloudflare", (page("522 ", b"error code: 522"),), source=CLOUDFLARE + "error-522/"),
        Row(
            "524 of Cloudflare",
            (page("524 ", b"<title>524: A timeout occurred</title>"),),
            source=github("langgenius/dify#12276"),
        ),
        Row("530 of Cloudflare", (page("530 ", b"error code: 1033"),), source=CLOUDFLARE),
        Row("408", (page("408 Request Timeout", b"<html>"),), source=RFC),
        Row(
            "409",
            (answer("409 Conflict", error("a request like this is being worked on", "conflict")),),
            source=RFC,
        ),
        Row("421", (page("421 Misdirected Request", b"<html>"),), source=github("caddyserver/caddy#7203")),
        Row("425", (page("425 Too Early", b"<html>"),), source="https://www.rfc-editor.org/rfc/rfc8470.html"),
        Row(
            "460 of a load balancer",
            (page("460 ", b""),),
            source="https://docs.amazonaws.cn/en_us/elasticloadbalancing/latest/application/load-balancer-troubleshooting.md",
        ),
        Row("499 of nginx", (page("499 ", b"<html>"),), source=github("apache/apisix#4715")),
        Row("a status of 999", (answer("999 Odd", error("no", "x")),)),
        Row(
            "a status of 000 with a task",
            (answer("000 Odd", video()),),
            Submit.NAMED,
            Poll.WAITS,
        ),
        Row(
            "a status of 000 with a task, without a length",
            (answer("000 Odd", video(), length=False),),
            Submit.NAMED,
            Poll.WAITS,
        ),
        Row(
            "a status of 000",
            (answer("000 Odd", error("no", "x")),),
            source="https://docs.amazonaws.cn/en_us/elasticloadbalancing/latest/application/load-balancer-troubleshooting.md",
        ),
    ],
)
