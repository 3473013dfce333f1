"""How an HTTP response is decoded."""

import json
import zlib
from datetime import datetime, timezone
from email.utils import formatdate

import pytest
from support.responses import TASK, openai_shape, response_with, video_object

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http import response
from veo_provider.api.http.response import Response


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("86400", 600),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("nan", None),
    ],
)
def test_retry_after_is_read(value, seconds):
    """Seconds are taken, at most ten minutes; nonsense is not."""
    assert response_with(429, openai_shape("x"), Retry_After=value).retry_after == seconds


class Noon(datetime):
    """A day on which it is always noon."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 6, 1, 12, tzinfo=tz)


def test_retry_after_may_be_a_date(monkeypatch):
    """A date becomes the seconds until then, and a past one none."""
    monkeypatch.setattr(response, "datetime", Noon)
    noon = Noon.now(timezone.utc).timestamp()
    assert response_with(429, {}, Retry_After=formatdate(noon + 100, usegmt=True)).retry_after == 100
    assert response_with(429, {}, Retry_After=formatdate(0, usegmt=True)).retry_after == 0


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "deflate", "br", "GZIP", "identity", "nonsense"])
@pytest.mark.parametrize("form", ["plain", "gzip", "zlib", "deflate"])
def test_a_wrong_label_of_the_encoding_loses_nothing(label, form):
    """A body is decoded by its label where that is right, and read as it came where it is not."""
    plain = json.dumps(video_object()).encode()
    raw = {"gzip": 31, "zlib": 15, "deflate": -15}
    packer = zlib.compressobj(wbits=raw[form]) if form != "plain" else None
    body = packer.compress(plain) + packer.flush() if packer else plain
    right = {
        "gzip": ("gzip", "x-gzip", "deflate"),
        "zlib": ("deflate", "gzip", "x-gzip"),
        "deflate": ("deflate",),
    }
    got = response_with(200, body, Content_Encoding=label)
    if form == "plain" or label.lower() in right[form]:
        assert protocol.parse_submission(got).id == TASK
        return
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        protocol.parse_submission(got)


def test_the_key_is_cut_out_of_an_response_with():
    """Some gateways repeat the key in their error; it goes no further."""
    got = Response.received(401, b'{"error": {"message": "bad key sk-secret"}}', {}, secrets=("sk-secret",))
    with pytest.raises(exceptions.VeoAuthenticationError) as caught:
        protocol.parse_video(got)
    assert "sk-secret" not in str(caught.value) + repr(got)
