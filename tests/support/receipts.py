"""Receipts for tests: new ones, damaged ones, and what stands around them."""

import json
from dataclasses import replace

from botocore.awsrequest import AWSResponse
from support import generations

from veo_provider.generation.fingerprint import PreparedRequest, sha256_of
from veo_provider.generation.state_machine import GenerationPolicy
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import SUFFIX, claim
from veo_provider.s3.uri import S3Uri

TARGET = S3Uri("videos", "clips/rocket.mp4" + SUFFIX)


ME, OTHER = Attempt("dag / run / me"), Attempt("dag / run / other")


def keys(s3):
    return [found["Key"] for found in s3.list_objects_v2(Bucket="videos").get("Contents", [])]


def new_claim(by=ME, **changes):
    return claim("f" * 64, {"prompt": "Ein Fjord"}, 0.3, by, seconds=60, **changes)


def names_of(call, client):
    """Count the calls of one kind that a client makes."""
    seen = []
    client.meta.events.register(f"before-call.s3.{call}", lambda params, **_: seen.append(params["url_path"]))
    return seen


class Raw:
    """The body of an answer that a test makes up."""

    def __init__(self, body):
        self._body = body

    def stream(self, **_):
        yield self._body

    def read(self, *_):
        body, self._body = self._body, b""
        return body


def answer(request, status, code):
    """Return what S3 would answer to a request that it refuses."""
    body = f"<Error><Code>{code}</Code><Message>So the test has it.</Message></Error>".encode()
    return AWSResponse(request.url, status, {"content-length": str(len(body))}, Raw(body))


def with_fields(**fields):
    """Return a receipt as somebody has edited it by hand."""
    return json.dumps({**json.loads(new_claim().to_json()), **fields}).encode()


DAMAGED = {
    "nothing": b"",
    "cut": new_claim().to_json()[:100],
    "no UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "a word": b'"claimed"',
    "no version": b'{"state": "claimed"}',
    "an unknown field": with_fields(tempered=True),
    "an unknown state": with_fields(state="paid"),
    "no history": with_fields(history=None),
    "a text for a time": with_fields(claimed_until="soon"),
    "a text for a number": with_fields(generations="1"),
    "a text for a video": with_fields(video="x"),
    "submitted without an id": with_fields(state="submitted"),
    "nested too deep": b"[" * 200_000,
}


def plan_of(request, **changes):
    request = replace(request, **changes)
    digest = sha256_of(request)
    return PreparedRequest.of(request, image="rocket.jpg", image_sha256=digest, account="veo_default")


def advance(store, client, plan, by, policy=None):
    return generations.advance(store, client, plan, by, policy or GenerationPolicy())


def refuse_writes(client, times, status, code, state="submitted"):
    """Refuse the first writes of a receipt in that state, and return how many of them were sent."""
    seen = []

    def refuse(request, **_):
        if f'"state": "{state}"'.encode() not in request.body.read():
            request.body.seek(0)
            return None
        request.body.seek(0)
        seen.append(request.url)
        return answer(request, status, code) if len(seen) <= times else None

    client.meta.events.register("before-send.s3.PutObject", refuse)
    return seen
