"""Where an image comes from, and that it is this one and no other."""

import pytest

from veo_provider.api.errors import VeoImageError
from veo_provider.images import find_image

NAMES = [
    "what?.jpg",
    "what?#1.jpg",
    "line\nbreak.jpg",
    "tab\there.jpg",
    "100%25 %2F.jpg",
    "größe-日本-🚀.jpg",
    "a+b&c=d;e.jpg",
    "s3:colon.jpg",
]


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("name", NAMES)
def test_a_local_file_may_have_any_name(tmp_path, name, scheme):
    """It is read under this very name, also where a URI of the same characters names another file."""
    for other in ("what#1.jpg", "linebreak.jpg", "tabhere.jpg", "100% %2F.jpg"):
        (tmp_path / other).write_bytes(b"\xff\xd8\xff another one")
    (tmp_path / name).write_bytes(b"\xff\xd8\xff this one")
    image = find_image(f"{scheme}{tmp_path}/{name}", None)
    assert b"".join(image.chunks(99)) == b"\xff\xd8\xff this one"
    assert image.name == name


@pytest.mark.parametrize("name", ["what?#1.jpg", "line\nbreak.jpg"])
def test_a_uri_that_names_another_file_is_refused(name):
    """The wrong picture would cost as much as the right one."""
    with pytest.raises(VeoImageError, match="it would be taken for"):
        find_image(f"memory://folder/{name}", None)


@pytest.mark.parametrize("path", ["", "nowhere.jpg", "a file/below.jpg", "\0.jpg"], ids=repr)
def test_what_is_no_file_is_refused(tmp_path, path):
    """A folder, a file that is missing, and what no file can be called are no matter of time."""
    (tmp_path / "a file").write_bytes(b"x")
    with pytest.raises(VeoImageError, match="cannot be read"):
        find_image(f"{tmp_path}/{path}", None)
