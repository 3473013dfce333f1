"""URLs are asked for as they were given, and the key goes to its own host alone."""

import pytest

from veo_provider.api.http.urls import exact_target, resolve_link, same_host

ASKED = "https://api.example/v1/videos/task_1/content"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://cdn.example/a%7Eb~c?x=%2f%2F&y=%7e", "/a%7Eb~c?x=%2f%2F&y=%7e"),
        ("https://cdn.example", "/"),
        ("https://cdn.example?x=1", "/?x=1"),
        ("https://cdn.example/a?", "/a?"),
        ("https://cdn.example//a/./b;c=1;", "//a/./b;c=1;"),
        ("https://cdn.example/a#part", "/a"),
        ("https://cdn.example/größe?q=ü", "/gr%C3%B6%C3%9Fe?q=%C3%BC"),
        ("https://cdn.example/a b\"<>'()[]{}|^`%", "/a%20b%22%3C%3E'()[]{}|^`%"),
        ("https://cdn.example/a?url=https://other.example/b", "/a?url=https://other.example/b"),
    ],
)
def test_a_target_is_what_was_given(url, target):
    """Only what no request may hold is quoted."""
    assert exact_target(url) == target


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://CDN.example/a%7E?x=%2f;", "https://CDN.example/a%7E?x=%2f;"),
        ("https://cdn.example/a?", "https://cdn.example/a?"),
        ("//cdn.example/a%7e", "https://cdn.example/a%7e"),
        ("/files/a%7e;?x", "https://api.example/files/a%7e;?x"),
        ("other", "https://api.example/v1/videos/task_1/other"),
        (" https://cdn.example/a\t", "https://cdn.example/a"),
    ],
)
def test_a_link_is_followed_as_it_is(location, url):
    """A link is completed where it is relative, and otherwise left alone."""
    assert resolve_link(ASKED, location) == url


@pytest.mark.parametrize(
    "location",
    [
        "ftp://cdn.example/a",
        "file:///etc/passwd",
        "http://[::1",
        "https://cdn.example:99999/a",
        "https://cdn.example\\@api.example/a",
        "https://cdn example/a",
    ],
)
def test_what_is_no_link_is_not_followed(location):
    """A link to nowhere, to another protocol, or to a host that parsers disagree on is refused."""
    assert resolve_link(ASKED, location) is None


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://API.Example/v1", "https://api.example/v1"),
        ("HTTPS://api.example:443/x", "https://api.example/v1"),
        ("https://api.example/x", "https://api.example:443/v1"),
        ("http://api.example:80/x", "http://api.example/v1"),
        ("http://[::1]:80/x", "http://[::1]/v1"),
        ("https://xn--bcher-kva.example/x", "https://bücher.example/v1"),
        ("https://api.example/x", "http://api.example/v1"),
    ],
)
def test_the_own_host_is_known_however_it_is_written(url, own):
    """Case, the default port, and the encoding of a name make no other host; nor does TLS."""
    assert same_host(url, own)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/x",
        "https://api.example:8443/x",
        "https://api.example.evil.example/x",
        "https://api.example@evil.example/x",
        "https://evil.example\\@api.example/x",
        "https://evil.example/https://api.example/",
        "https://api.example:99999/x",
        "no URL",
    ],
)
def test_another_host_is_another(url):
    """The key goes to no other host or port, and never from TLS to none."""
    assert not same_host(url, "https://api.example/v1")
