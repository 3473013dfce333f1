"""Archives in a real S3: what is listed, in which order, and from where on."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from veo_provider.batch.manifest import open_manifest
from veo_provider.batch.outcome import Outcome
from veo_provider.exceptions import VeoArchiveUnavailableError, VeoRequestError

OUT = "s3://videos/out/"
AWKWARD = [
    "a cat.jpg",
    "katze äöü ☃ 😀.jpg",
    "50%25 off 100%.jpg",
    "a+b&c=d;e.jpg",
    "what?#1.jpg",
    "[x] {y} *.jpg",
    "quote'\"`$HOME.jpg",
    "line\nbreak.jpg",
    "date=2026-01-01/hour=00/cat.jpg",
    "deep/er/and/deep/er/cat.jpg",
]


@pytest.fixture
def root(s3, sandbox):
    """An empty prefix of its own."""
    return f"{uuid.uuid4().hex}/"


@pytest.fixture
def put(s3, root):
    """Puts objects below the prefix."""

    def put(*keys, body=b"x"):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: s3.put_object(Bucket="images", Key=root + key, Body=body), keys))

    return put


@pytest.fixture
def paths(s3, root, put):
    """Lists an archive of these objects, and returns the paths of its items."""

    def paths(pattern, *keys, **options):
        put(*keys)
        return [
            item.path for item in open_manifest(f"s3://images/{root}{pattern}", OUT, s3, **options).items()
        ]

    return paths


def test_a_video_is_named_after_its_path_below_the_prefix(s3, root, put):
    """The whole file name stays, so that two images that differ in their suffix have a video each."""
    put("a/x/cat.jpg", "a/x/cat.png", "b/dog.jpg")
    items = open_manifest(f"s3://images/{root}a/", OUT, s3).items()
    assert [(item.key, item.image, item.path, item.output) for item in items] == [
        (
            f"{root}a/x/cat.{kind}",
            f"s3://images/{root}a/x/cat.{kind}",
            f"x/cat.{kind}",
            f"{OUT}x/cat.{kind}.mp4",
        )
        for kind in ("jpg", "png")
    ]


def test_what_stands_beside_images_is_no_image(s3, root, put, paths):
    """Folder markers, videos, receipts and their probes, and the own folder are passed over."""
    put("", "b/", body=b"")
    assert paths(
        "",
        "cat.jpg",
        "b_$folder$",
        "cat.jpg.mp4",
        "CLIP.MP4",
        "cat.jpg.mp4.veo.json",
        "cat.jpg.mp4.veo.json.probe-0123",
        "_veo/dag/run/make/summary.jsonl",
        "b/_veo/dag/run/make/notes/1/1.jsonl",
    ) == ["cat.jpg"]


def test_a_file_of_unknown_type_is_an_item(paths):
    """What a person may have taken for an image is not dropped in silence: a look at it rejects it."""
    keys = [".DS_Store", "README", "cat.tiff", "notes.txt"]
    assert paths("", *keys) == keys


def test_sidecars_are_no_images_where_they_are_used(paths):
    """A text is a prompt if prompts come from texts."""
    assert paths("", "cat.jpg", "cat.jpg.txt", "dog.txt", prompt_suffix=".txt") == ["cat.jpg"]


def test_the_own_folder_counts_below_the_prefix_only(paths):
    """A prefix that itself lies in a folder of that name is listed all the same."""
    assert paths("_veo/", "_veo/cat.jpg") == ["cat.jpg"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["cat.jpg"]),
        ("**/*.jpg", ["2026/01/fox.jpg", "2026/dog.jpg", "cat.jpg"]),
        ("2026/**/*.jpg", ["01/fox.jpg", "dog.jpg"]),
        ("*/dog.???", ["2026/dog.jpg"]),
        ("202[5-6]/*", ["2026/dog.jpg"]),
        ("20*/", ["2026/01/fox.jpg", "2026/dog.jpg"]),
        ("c[!x]t.*", ["cat.jpg", "cat.png"]),
        ("**", ["2026/01/fox.jpg", "2026/dog.jpg", "cat.jpg", "cat.png"]),
    ],
)
def test_wildcards_choose_images(paths, pattern, found):
    """Only ** goes over folders, and names are relative to the folder before the first wildcard."""
    assert paths(pattern, "cat.jpg", "cat.png", "2026/dog.jpg", "2026/01/fox.jpg") == found


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_may_hold_any_character(s3, root, put, name):
    """The image's URI leads to the object, and the cursor goes on behind it."""
    put(name, "~last.jpg")
    archive = open_manifest(f"s3://images/{root}", OUT, s3)
    item, last = archive.items()
    assert (item.path, item.output) == (name, f"{OUT}{name}.mp4")
    assert s3.head_object(Bucket="images", Key=item.image.removeprefix("s3://images/"))["ContentLength"] == 1
    assert list(archive.items(item.key)) == [last]


def test_more_than_a_page_is_listed_whole_from_anywhere(s3, root, put):
    """1,100 keys come in pages, each key once, and from each cursor comes the rest."""
    put(*(f"{number % 7}/{number:05}.jpg" for number in range(1100)))
    archive = open_manifest(f"s3://images/{root}", OUT, s3)
    keys = [item.key for item in archive.items()]
    assert len(keys) == len(set(keys)) == 1100
    for at in (0, 99, 998, 999, 1000, 1098, 1099):
        assert [item.key for item in archive.items(keys[at])] == keys[at + 1 :]


def test_only_what_is_needed_is_listed(s3, root, put):
    """S3 is asked for what begins like the pattern, behind the cursor, and only as far as it is read."""
    put("2026-01/cat.jpg", "2026-02/cat.jpg")
    asked = []
    s3.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: asked.append(params), unique_id="test"
    )
    try:
        archive = open_manifest(f"s3://images/{root}2026-*/*.jpg", OUT, s3)
        items = archive.items(f"{root}2026-01/cat.jpg")
        assert asked == []
        assert next(items).path == "2026-02/cat.jpg"
    finally:
        s3.meta.events.unregister("provide-client-params.s3.ListObjectsV2", unique_id="test")
    (params,) = asked
    assert (params["Prefix"], params["StartAfter"]) == (f"{root}2026-", f"{root}2026-01/cat.jpg")


def test_a_name_that_ends_with_white_space_is_rejected(s3, root, put):
    """An image's URI is stripped where it is read, and the object without the space may be another one."""
    put("a.jpg", "a.jpg ")
    good, bad = open_manifest(f"s3://images/{root}", OUT, s3).items()
    assert (good.outcome, bad.outcome) == (None, Outcome.REJECTED)


def test_an_empty_prefix_has_no_items(paths):
    """A day without images is no error."""
    assert paths("") == []


def test_a_bucket_that_does_not_exist_is_an_error(s3, sandbox):
    """It is not taken for an empty one."""
    with pytest.raises(VeoRequestError, match=r"s3://nowhere/a/ cannot be listed: .*NoSuchBucket"):
        list(open_manifest("s3://nowhere/a/", OUT, s3).items())


def test_a_store_that_is_away_is_a_matter_of_time(sandbox):
    """The task may be tried again."""
    import boto3
    from botocore.config import Config

    away = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(VeoArchiveUnavailableError) as caught:
        list(open_manifest("s3://images/", OUT, away).items())
    assert caught.value.retryable
    away.close()
