"""Whole answers in a frame that is broken, or that few have seen."""

import gzip

from support.answers.row import (
    Content,
    Group,
    Poll,
    Row,
    Submit,
    answer,
    as_bytes,
    chunked,
    error,
    github,
    video,
)
from support.raw_server import Act, Pieces

VIDEO = as_bytes(video())
ERROR = as_bytes(error("no", "x"))
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
OK = answer("200 OK", VIDEO)
GZIP = b"Content-Encoding: gzip"
HTTP = "https://www.rfc-editor.org/rfc/rfc9112.html#section-"


def read(name: str, *pieces: bytes | Act, content: Content = Content.AGAIN, source: str = "own") -> Row:
    """Return a row of an object that is read all the same: its frame changes nothing."""
    return Row(name, pieces, Submit.TAKEN, Poll.WAITS, content, source)


def _headed(*lines: bytes, length: bool | None = None) -> bytes:
    return answer("200 OK", VIDEO, *lines, length=length)


_ENDLESS: Pieces = (_headed(*(b"X-%d: " % number + b"x" * 9_999 for number in range(40))),)

FRAMING = Group(
    "Unusual framing",
    "Informational responses are skipped. Framing that can be understood makes no difference.",
    [
        read("100 first", b"HTTP/1.1 100 Continue\r\n\r\n", OK),
        read("102 first", b"HTTP/1.1 102 Processing\r\n\r\n" + OK, source=github("aio-libs/aiohttp#1353")),
        read("103 first", EARLY + OK, source=github("snoyberg/http-client#521")),
        read(
            "many first",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            EARLY * 20,
            answer("201 Created", VIDEO),
            source=github("nginx/nginx#1241"),
        ),
        read("199 first", b"HTTP/1.1 199 Odd\r\nServer: odd\r\n\r\n" + OK),
        Row("103 alone", (EARLY,)),
        Row("101", (SWITCH,)),
        Row("101 first", (SWITCH, OK)),
        read("no last chunk", chunked(VIDEO, last=b"")),
        read("a length that is too large", answer("200 OK", VIDEO, length=len(VIDEO) + 100)),
        read("a reset after the object", answer("200 OK", VIDEO, length=9999), Act.RESET),
        read("silence after the object", answer("200 OK", VIDEO, length=9999), Act.SILENCE),
        read("called gzip, and is not", _headed(GZIP), source=github("caddyserver/caddy#1763")),
        read("called deflate, and is not, in chunks", chunked(VIDEO, b"Content-Encoding: deflate")),
        read("called brotli, and is not", _headed(b"Content-Encoding: br")),
        read("x-gzip", answer("200 OK", gzip.compress(VIDEO), b"Content-Encoding: x-gzip")),
        read("gzip that lacks its check sum", answer("200 OK", gzip.compress(VIDEO)[:-4], GZIP)),
        Row(
            "a refusal called gzip, and is not",
            (answer("400 Bad Request", ERROR, GZIP),),
            Submit.REFUSED,
            source=github("envoyproxy/ai-gateway#2553"),
        ),
        Row(
            "a refusal in gzip that is not called so",
            (answer("400 Bad Request", gzip.compress(ERROR)),),
            source=github("apache/trafficcontrol#1737"),
        ),
        Row(
            "in brotli, without being asked",
            (answer("200 OK", b"\x8b\x2d\x80odd\x03", b"Content-Encoding: br"),),
            source=github("aio-libs/aiohttp#4491"),
        ),
        read("a field of 9 KB", _headed(b"Content-Security-Policy: " + b"x" * 9_000)),
        read("a field of 100 KB", _headed(b"X-Litellm-Debug: " + b"x" * 100_000)),
        read("150 cookies", _headed(*(b"Set-Cookie: a%d=b" % number for number in range(150)))),
        Row("a head without an end", _ENDLESS),
        read("two lengths alike", _headed(b"Content-Length: %d" % len(VIDEO)), source=HTTP + "6.3"),
        read(
            "a list of lengths", _headed(b"Content-Length: %d, %d" % (2 * (len(VIDEO),))), source=HTTP + "6.3"
        ),
        read("two lengths", _headed(b"Content-Length: 7")),
        read("a length below zero", _headed(b"Content-Length: -1", length=False)),
        read("a length that is no number", _headed(b"Content-Length: abc", length=False)),
        read("a length beyond all numbers", _headed(b"Content-Length: " + b"9" * 30, length=False)),
        read("an empty length", _headed(b"Content-Length:", length=False)),
        read(
            "a length beside chunks", chunked(VIDEO, b"Content-Length: %d" % len(VIDEO)), source=HTTP + "6.3"
        ),
        read("a wrong length beside chunks", chunked(VIDEO, b"Content-Length: 3"), source=HTTP + "6.3"),
        read("chunks twice", chunked(VIDEO, b"transfer-encoding: Chunked")),
        read("a transfer encoding of identity", _headed(b"Transfer-Encoding: identity")),
        read("an announced trailer", chunked(VIDEO, b"Trailer: X-End", last=b"0\r\nX-End: 1\r\n\r\n")),
        read("spaces in chunk sizes", chunked(VIDEO).replace(b"\r\n{", b"  \r\n{")),
        read("a chunk with an extension", chunked(VIDEO).replace(b"\r\n{", b";a=b\r\n{")),
        read("a space in a name", _headed(b"X-Request Id: 1")),
        read(
            "a space in a name before chunks",
            chunked(VIDEO).replace(b"Content-Type", b"X-Request Id: 1\r\nX-Type"),
            content=Content.CUT,
        ),
        read(
            "a space after a name",
            _headed(b"Content-Length : %d" % len(VIDEO), length=False),
            source=HTTP + "5.1",
        ),
        read("a line that is no field", _headed(b"Warning, no colon")),
        read("a field without a name", _headed(b": odd")),
        read("a name of other letters", _headed("X-Größe: 1".encode())),
        read("a folded field", _headed(b"X-Long: one\r\n two"), source=HTTP + "5.2"),
        read("a fold at the start", OK.replace(b"Content-Type", b" odd\r\nContent-Type", 1)),
        read("a zero byte in a field", _headed(b"X-Odd: a\x00b\x01")),
        read("UTF-8 in a field", _headed("X-Odd: ü".encode())),
        read("Latin-1 in a field", _headed(b"X-Odd: \xfc")),
        read("Content-Type twice", _headed(b"Content-Type: text/html")),
        read("no reason", answer("200", VIDEO)),
        read("an odd reason", answer("200 \x01 Größe", VIDEO)),
        read("HTTP/1.0", answer("200 OK", VIDEO, length=False).replace(b"HTTP/1.1", b"HTTP/1.0")),
        read("HTTP/1.2", OK.replace(b"HTTP/1.1", b"HTTP/1.2")),
        read("spaces in the status line", OK.replace(b" 200", b"   200")),
        read("line feeds alone", answer("200 OK", b"", length=len(VIDEO)).replace(b"\r\n", b"\n") + VIDEO),
        read("blank lines first", b"\r\n\r\n" + OK),
        read("an offer of h2c", _headed(b"Upgrade: h2c", b"Connection: Upgrade")),
        read("byte by byte", *(bytes([byte]) for byte in EARLY + OK)),
        read("cut before the blank line and after", EARLY[:-1], EARLY[-1:] + OK),
        read("another answer behind it", OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
        read(
            "kept alive, and closed all the same",
            OK.replace(b"Connection: close", b"Connection: keep-alive"),
            source=github("urllib3/urllib3#1911"),
        ),
        Row("HTTP of another kind", (OK.replace(b"HTTP/1.1", b"http/1.1"),)),
        Row("a status of two digits", (answer("20 OK", VIDEO),)),
        Row("no HTTP", (b"SSH-2.0-OpenSSH_9.6\r\n",)),
        Row("303 without a target", (answer("303 See Other"),)),
    ],
    about_bodies=False,
)
