"""What may come where the video is asked for."""

import gzip

from support.answers.row import Content, Group, Row, answer, as_bytes, chunked, error, github, page
from support.media import videos

FILM = videos.encode()
HALF = FILM[: len(FILM) // 2]
MP4 = b"video/mp4"
ELSEWHERE = {"url": "http://localhost:@PORT/linked"}
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
MISSING = b"<Error><Code>NoSuchKey</Code></Error>"
NO_KEY = {"error": {"message": "Missing Authentication header", "code": 401}}


def film(
    name: str, body: bytes, content: Content = Content.STORED, source: str = "own", *headers: bytes
) -> Row:
    """Return a row of something that is called a video."""
    return Row(name, (answer("200 OK", body, *headers, kind=MP4),), content=content, source=source)


def link(name: str, linked: bytes, content: Content = Content.AGAIN, source: str = "own") -> Row:
    """Return a row of a link to another host, and what is there."""
    return Row(name, (answer("200 OK", ELSEWHERE),), content=content, source=source, linked=(linked,))


VIDEOS = Group(
    "Videos",
    "Only a complete MP4 is stored, whatever its content type is. Each attempt requests a new link.",
    [
        film("a video", FILM),
        Row(
            "a video called a stream of bytes",
            (answer("200 OK", FILM, kind=b"application/octet-stream"),),
            content=Content.STORED,
            source=github("OpenRouterTeam/typescript-sdk#506"),
        ),
        Row("a video that is called nothing", (answer("200 OK", FILM, kind=None),), content=Content.STORED),
        Row("a video in chunks", (chunked(FILM, kind=MP4),), content=Content.STORED),
        Row(
            "a video without a length",
            (answer("200 OK", FILM, length=False, kind=MP4),),
            content=Content.STORED,
        ),
        Row(
            "a video after 103",
            (b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer("200 OK", FILM, kind=MP4),),
            content=Content.STORED,
            source=github("snoyberg/http-client#521"),
        ),
        film("a video in gzip", gzip.compress(FILM), Content.STORED, "own", b"Content-Encoding: gzip"),
        film(
            "a video in gzip that is cut",
            gzip.compress(FILM)[:-5000],
            Content.CUT,
            "own",
            b"Content-Encoding: gzip",
        ),
        film("half a video with its own length", HALF, Content.CUT),
        Row(
            "half a video with the length of the whole", (answer("200 OK", HALF, length=len(FILM), kind=MP4),)
        ),
        Row("half a video in chunks", (chunked(HALF, last=b"", kind=MP4),)),
        film("a video, and some bytes behind its end", FILM + b"<html>"),
        film("an empty video", b"", Content.CUT),
        film("an error called a video", as_bytes(error("no")), Content.CUT),
        film("a page called a video", b"<html>", Content.CUT),
        Row(
            "a picture",
            (answer("200 OK", b"\xff\xd8\xff\xe0 a thumbnail", kind=b"image/jpeg"),),
            content=Content.CUT,
        ),
        Row(
            "a playlist", (answer("200 OK", b"#EXTM3U", kind=b"application/x-mpegURL"),), content=Content.CUT
        ),
        Row(
            "206 without being asked, nor a length",
            (answer("206 Partial Content", FILM, length=False, kind=MP4),),
            content=Content.STORED,
            source=github("ktorio/ktor#1355"),
        ),
        Row(
            "206 with the first half",
            (
                answer(
                    "206 Partial Content",
                    HALF,
                    b"Content-Range: bytes 0-%d/%d" % (len(HALF) - 1, len(FILM)),
                    kind=MP4,
                ),
            ),
            content=Content.CUT,
        ),
        Row(
            "416",
            (page("416 Range Not Satisfiable", b"<html>"),),
            source="https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5.17",
        ),
        Row(
            "302 to the video",
            (page("302 Found", b"", b"Location: /linked"),),
            content=Content.STORED,
            linked=(answer("200 OK", FILM, kind=MP4),),
            source=github("api7/aisix#820"),
        ),
        link(
            "a link to the video",
            answer("200 OK", FILM, kind=MP4),
            Content.STORED,
            "https://docs.apiyi.com/ja/api-capabilities/veo-3-1-official/overview",
        ),
        link(
            "a link that has expired",
            answer("403 Forbidden", EXPIRED, kind=b"application/xml"),
            source=github("versity/versitygw#2116"),
        ),
        link("a link to a file that is gone", answer("404 Not Found", MISSING, kind=b"application/xml")),
        link(
            "a link that wants another key",
            answer("401 Unauthorized", NO_KEY),
            source=github("decolua/9router#3966"),
        ),
        link("a link to a page", page("200 OK", b"<html>")),
        link("a link to XML with 200", answer("200 OK", EXPIRED, kind=b"application/xml"), Content.CUT),
        Row(
            "a link to a bucket",
            (answer("200 OK", {"url": "gs://bucket/video.mp4"}),),
            source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation",
        ),
        Row("a link of null", (answer("200 OK", {"url": None}),)),
        Row(
            "404 of Next.js",
            (page("404 Not Found", b"<!DOCTYPE html><title>404: This page could not be found."),),
            source=github("decolua/9router#3966"),
        ),
        Row("404 of a bucket", (answer("404 Not Found", MISSING, kind=b"application/xml"),)),
        Row(
            "403 of a bucket",
            (answer("403 Forbidden", EXPIRED, kind=b"application/xml"),),
            source=github("cloudflare/cloudflare-docs#32436"),
        ),
    ],
)
