"""The images of a list: what is refused, how outputs are named, and where to go on."""

import pytest

from veo_provider.batch.manifest import Outputs, open_manifest
from veo_provider.batch.outcome import Outcome
from veo_provider.exceptions import VeoRequestError

OUT = "s3://videos/out/"


def listed(*images):
    """Return the items of a list."""
    return list(open_manifest(images, OUT, None).items())


@pytest.mark.parametrize(
    "images",
    [
        "s3://images",
        "images/a/",
        "s3:///a/",
        "s3://images/cat.jpg",
        "gs://b/a/",
        "",
        "s3://b/a**b/",
        "/tmp/*",
    ],
)
def test_what_names_no_archive_is_refused(images):
    """A single image goes into a list; anything else is a mistake that is told before money is spent."""
    with pytest.raises(VeoRequestError, match="Nothing was sent"):
        open_manifest(images, OUT, None)


@pytest.mark.parametrize("prefix", ["s3://videos", "s3://videos/out", "videos/", "/tmp/out/", ""])
def test_an_output_prefix_is_a_folder_in_s3(prefix):
    """Without its slash, out and cat.jpg would become outcat.jpg.mp4."""
    with pytest.raises(VeoRequestError, match="output_prefix"):
        open_manifest("s3://images/", prefix, None)


def test_a_list_may_hold_images_from_anywhere():
    """Their videos are named after the files, whatever else stands in the list."""
    items = listed("s3://images/a/cat #1?.jpg", "file:///tmp/dög.png", "/tmp/100%.webp", "gs://b/fox.jpg ")
    assert [item.output.removeprefix(OUT) for item in items] == [
        "cat #1?.jpg.mp4",
        "dög.png.mp4",
        "100%.webp.mp4",
        "fox.jpg.mp4",
    ]
    assert items[3].image == "gs://b/fox.jpg"


def test_two_images_of_a_list_with_one_output_are_refused():
    """Both are named, for they would be two bills and one video."""
    with pytest.raises(VeoRequestError) as caught:
        listed("s3://images/a/cat.jpg", "s3://images/dog.jpg", "s3://images/b/cat.jpg")
    assert "s3://images/a/cat.jpg" in str(caught.value)
    assert "s3://images/b/cat.jpg" in str(caught.value)
    assert "s3://videos/out/cat.jpg.mp4" in str(caught.value)


def test_an_image_that_stands_in_a_list_twice_is_made_once():
    """The second is accounted for, and skipped with a reason."""
    first, _, again = listed("s3://images/cat.jpg", "s3://images/dog.jpg", "s3://images/cat.jpg")
    assert first.outcome is None
    assert (again.outcome, again.reason) == (Outcome.SKIPPED, "It is in the list twice.")


@pytest.mark.parametrize("entry", [None, "", " ", "s3://images/a/"])
def test_an_entry_that_names_no_file_is_refused(entry):
    """An upstream task that found nothing is not a bad image, but a mistake."""
    with pytest.raises(VeoRequestError, match=r"images\[1\]="):
        listed("s3://images/cat.jpg", entry)


def test_an_image_of_a_list_is_known_by_its_output():
    """Wherever it stands, and whatever stands before it; one that stands there again has a key of its own."""
    keys = {item.image: item.key for item in listed("s3://images/cat.jpg", "s3://images/dog.jpg")}
    assert keys["s3://images/dog.jpg"] == f"{OUT}dog.jpg.mp4"
    assert [item.key for item in listed("s3://images/dog.jpg")] == [keys["s3://images/dog.jpg"]]
    again = listed(*(["s3://images/cat.jpg"] * 4), "s3://images/cat.jpg.mp4#2")
    assert len({item.key for item in again}) == 5


def test_a_key_of_an_earlier_release_has_no_place():
    """Positions were keys: then a batch starts over, and finds what is done."""
    archive = open_manifest(["s3://images/cat.jpg", "s3://images/dog.jpg"], OUT, None)
    assert not archive.has_places(["000000001"])
    assert archive.has_places([f"{OUT}cat.jpg.mp4"])
    assert archive.has_places([])
    assert open_manifest("s3://images/", OUT, None).has_places(["any/key.jpg"])


def test_the_outputs_of_an_archive_are_few_bytes():
    """It is known of each output whether it belongs to the archive."""
    archive = open_manifest([f"s3://images/{number}.jpg" for number in range(1000)], OUT, None)
    outputs = Outputs(archive.items())
    assert all(item.output in outputs for item in archive.items())
    assert not any(f"{OUT}{number}.png.mp4" in outputs for number in range(1000))
    assert f"{OUT}cat.jpg.mp4" not in Outputs([])


def test_a_list_goes_on_after_an_item():
    """Also where an image stands there twice."""
    images = [*(f"s3://images/{number}.jpg" for number in range(20)), "s3://images/3.jpg"]
    archive = open_manifest(images, OUT, None)
    items = list(archive.items())
    assert [item.image for item in items] == images
    for at, item in enumerate(items):
        assert list(archive.items(item.key)) == items[at + 1 :]


def test_a_name_that_is_too_long_for_its_receipt_is_rejected():
    """1,024 bytes are all that S3 takes, in UTF-8."""
    fits, long = listed(f"s3://images/{'x' * 1007}", f"s3://images/{'ü' * 504}")
    assert (len("out/.mp4.veo.json") + 1007, fits.outcome) == (1024, None)
    assert long.outcome is Outcome.REJECTED
    assert "1024 bytes" in long.reason
