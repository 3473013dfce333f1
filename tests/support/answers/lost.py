"""Answers that are lost on the way."""

import gzip

from support.answers.row import Group, Row, Submit, answer, as_bytes, chunked, error, github, video
from support.raw_server import Act

VIDEO = as_bytes(video())
CUT = VIDEO[:-20]
ERROR = as_bytes(error("no", "x"))
GZIP = b"Content-Encoding: gzip"

LOST = Group(
    "Lost responses",
    "An id that arrived before the connection broke is kept and polled.",
    [
        Row("no response", (b"",), source=github("3DStreet/3dstreet#1469")),
        Row("half a head", (b"HTTP/1.1 200 OK\r\nContent-Ty",)),
        Row("half a head of a refusal", (b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n",)),
        Row("a refusal that is cut", (answer("400 Bad Request", ERROR[:-3], length=len(ERROR)),)),
        Row(
            "a refusal whose body never comes",
            (answer("400 Bad Request", b"", length=150),),
            source=github("agentgateway/agentgateway#1340"),
        ),
        Row("a reset after the head", (answer("200 OK", b"", length=9999), Act.RESET)),
        Row("silence after the head", (answer("200 OK", b"", length=9999), Act.SILENCE)),
        Row("cut after the id", (answer("200 OK", CUT, length=len(VIDEO)),), Submit.NAMED),
        Row("cut after the id, in chunks", (chunked(CUT, last=b""),), Submit.NAMED),
        Row(
            "cut after the id, compressed",
            (answer("200 OK", gzip.compress(VIDEO)[:-12], GZIP),),
            Submit.NAMED,
        ),
        Row("a reset after the id", (answer("200 OK", CUT, length=9999), Act.RESET), Submit.NAMED),
        Row("silence after the id", (answer("200 OK", CUT, length=9999), Act.SILENCE), Submit.NAMED),
        Row(
            "an object of 3 MB",
            (answer("200 OK", VIDEO[:-1] + b', "x": "' + bytes(2_000_000), length=3_000_000),),
            Submit.NAMED,
        ),
    ],
    about_bodies=False,
)
