"""The body of a submission: its bytes, its length, and when it has left."""

import io
import json
import re
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.body import CHUNK_BYTES, encode
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import (
    VeoImageUnavailableError,
    VeoInterruptedError,
    VeoNotSentError,
    VeoSubmissionUnknown,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def body_of(image=None, prompt="A rocket"):
    return encode(VeoRequest(prompt=prompt, image=image or Image.from_bytes(PNG, "photo.png")))


def test_the_form_on_the_wire():
    """The multipart body is, byte for byte, what RFC 7578 describes, with the image last."""
    body = body_of()
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\w+)", body.content_type).group(1)
    expected = b""
    for name, value in [
        ("model", "veo-3.1-fast-generate-preview"),
        ("prompt", "A rocket"),
        ("seconds", "8"),
        ("duration", "8"),
        ("resolution", "720p"),
        ("aspectRatio", "16:9"),
    ]:
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        expected += part.encode()
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="input_reference"; filename="photo.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    expected += head.encode() + PNG + f"\r\n--{boundary}--\r\n".encode()
    assert len(body) == len(expected)
    assert b"".join(body) == expected


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("bell\x07 line\nbreak\x7f.png", "bell_ line_break_.png"),
        ("half a character \udcff.png", "half a character _.png"),
        ("größe-日本-🚀 #1 100%25.png", "größe-日本-🚀 #1 100%25.png"),
    ],
)
def test_a_file_name_is_sent_without_what_no_header_may_hold(name, sent):
    """A server that stumbles over it would leave open whether the submission was accepted."""
    body = b"".join(body_of(Image.from_bytes(PNG, name)))
    assert f'filename="{sent}"\r\n'.encode() in body


def test_text_to_video_is_json():
    """Without an image the body is a JSON object."""
    body = encode(VeoRequest(prompt="A rocket"))
    assert body.content_type == "application/json"
    data = b"".join(body)
    assert len(data) == len(body)
    assert json.loads(data)["prompt"] == "A rocket"


@given(prompt=st.text(min_size=1).filter(str.strip), reads=st.lists(st.integers(1, 300), min_size=1))
def test_any_reading_gives_the_announced_bytes(prompt, reads):
    """Whatever prompt, and in whatever portions it is read, the length that was announced comes out."""
    body = body_of(prompt=prompt.encode("utf-8", "replace").decode())
    announced, read = len(body), 0
    for size in reads:
        chunk = body.read(size)
        assert len(chunk) <= size
        read += len(chunk)
        assert body.complete is (read == announced)
    assert read + len(b"".join(body)) == announced
    assert body.complete
    assert body.read(10) == b""


def test_a_quote_in_a_file_name_cannot_break_the_form():
    """A file name with quotes and line ends stays inside of its header."""
    data = b"".join(body_of(Image.from_bytes(PNG, 'a"b\r\nX-Evil: 1.png')))
    assert b"\r\nX-Evil" not in data


class Broken(io.BytesIO):
    """A source that fails after some bytes."""

    def read(self, size=-1, /):
        if self.tell() >= 100:
            raise ConnectionResetError("the store went away")
        return super().read(min(size, 100))


@pytest.mark.parametrize(
    ("stream", "said"), [(Broken(PNG), "the store went away"), (io.BytesIO(PNG[:-1]), "ended 1 bytes early")]
)
def test_an_image_that_fails_midway_leaves_the_body_incomplete(stream, said):
    """If the image's source fails, the end of the request never leaves, so nothing can be accepted."""
    body = body_of(Image.check("p.png", size=len(PNG), header=PNG[:12], open_stream=lambda: stream))
    with pytest.raises(VeoImageUnavailableError, match=f"{said}.*No money was spent") as caught:
        b"".join(body)
    assert not body.complete
    assert body.classify_failure(OSError("wrapped"), "wrapped", is_transport_error=True) is caught.value


def test_the_end_is_kept_back_when_it_is_late():
    """After its time the last bytes never leave, so that no server can accept the request."""
    request = VeoRequest(prompt="A harbour", image=Image.from_bytes(PNG, "photo.png"))
    body = encode(request, deadline=time.time() - 1)
    with pytest.raises(VeoNotSentError, match=r"took too long.*No money was spent") as caught:
        b"".join(body)
    assert not body.complete
    assert body.classify_failure(OSError("wrapped"), "wrapped", is_transport_error=True) is caught.value


def test_what_a_broken_submission_means_for_the_money():
    """Before the last byte has left nothing is spent; after it nobody knows."""
    body = body_of()
    body.read(10)
    error = OSError("reset")
    assert isinstance(body.classify_failure(error, "reset", is_transport_error=True), VeoNotSentError)
    assert body.classify_failure(error, "reset", is_transport_error=False) is error
    assert isinstance(
        body.classify_failure(KeyboardInterrupt(), "Ctrl-C", is_transport_error=False), VeoInterruptedError
    )
    b"".join(body)
    for transport in (True, False):
        assert isinstance(
            body.classify_failure(error, "reset", is_transport_error=transport), VeoSubmissionUnknown
        )


def test_closing_lets_go_of_the_image():
    """The image's source is closed with the body."""
    stream = io.BytesIO(PNG)
    body = body_of(Image.check("p.png", size=len(PNG), header=PNG[:12], open_stream=lambda: stream))
    b"".join(body)
    body.close()
    assert stream.closed


def written_anew(path, data, then):
    """A body whose image was hashed, and is something else when it is sent."""
    path.write_bytes(data)
    request = VeoRequest(prompt="A rocket", image=Image.from_path(path).hashed())
    body = encode(request)
    with path.open("r+b") as file:  # in place, as a copy onto a shared disk does
        file.write(then)
        file.truncate(len(then))
    return body


@pytest.mark.parametrize("size", [1000, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
@pytest.mark.parametrize("change", ["overwritten", "grown", "shrunk", "emptied"])
def test_an_image_that_was_changed_since_is_not_sent_to_its_end(tmp_path, size, change):
    """What is sent is what was hashed, or the end of the request never leaves."""
    data = PNG[:12] + bytes(size)
    then = {
        "overwritten": data[:-1] + b"x",
        "grown": data + b"x",
        "shrunk": data[:-1],
        "emptied": b"",
    }[change]
    body = written_anew(tmp_path / "photo.png", data + b"end", then + b"end" if then else b"")
    sent = []
    with closing(body), pytest.raises(VeoImageUnavailableError, match=r"changed.*No money was") as caught:
        sent.extend(iter(body))
    assert len(b"".join(sent)) < len(body)
    assert not body.complete
    assert body.classify_failure(OSError("wrapped"), "wrapped", is_transport_error=True) is caught.value


def test_an_image_that_is_written_again_the_same_is_sent(tmp_path):
    """The bytes count, and not when they were written."""
    with closing(written_anew(tmp_path / "photo.png", PNG, PNG)) as body:
        assert PNG in b"".join(body)


def test_an_image_that_grows_is_not_sent_without_a_digest_either(tmp_path):
    """Half of a file that is being written would cost as much as the whole."""
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    body = body_of(Image.from_path(path))
    path.write_bytes(PNG + PNG)
    with closing(body), pytest.raises(VeoImageUnavailableError, match="changed while it was read"):
        b"".join(body)
    assert not body.complete
