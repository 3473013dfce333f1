"""The prompt of an image: from a template, or from a mapping."""

import pytest

from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.prompts import prompts_of
from veo_provider.exceptions import VeoRequestError

CAT = ManifestItem(
    "a/b/old cat.v2.jpg", "s3://images/a/b/old cat.v2.jpg", "b/old cat.v2.jpg", "s3://videos/b/cat.mp4"
)
DOG = ManifestItem("000000001", "gs://pets/dog", "dog", "s3://videos/dog.mp4")


@pytest.mark.parametrize(
    ("text", "cat", "dog"),
    [
        ("It moves", "It moves", "It moves"),
        ("$name", "old cat.v2.jpg", "dog"),
        ("The ${stem}s", "The old cat.v2s", "The dogs"),
        ("See $key", "See a/b/old cat.v2.jpg", "See gs://pets/dog"),
        ("For $$5, $$name", "For $5, $name", "For $5, $name"),
    ],
)
def test_a_template_knows_the_image(text, cat, dog):
    """Names are filled in as they are; two dollars are one."""
    prompts = prompts_of(text, None, None)
    assert (prompts.of(CAT), prompts.of(DOG)) == (cat, dog)


@pytest.mark.parametrize("text", ["$5 a piece", "$prompt", "${name", "$", "$nam", "$Name"])
def test_a_template_that_stands_for_nothing_is_refused(text):
    """A misspelt name is found before any money is spent, not at the ten thousandth image."""
    with pytest.raises(VeoRequestError, match=r"\$name, \$stem, \$key or \$metadata"):
        prompts_of(text, None, None)


@pytest.mark.parametrize(
    ("prompt", "suffix"), [(None, None), ("It moves", ".txt"), ({}, ".txt"), ("", None), ("  ", None)]
)
def test_prompts_come_from_one_place(prompt, suffix):
    """None, two, or an empty one are a mistake."""
    with pytest.raises(VeoRequestError, match="prompt"):
        prompts_of(prompt, suffix, None)


@pytest.mark.parametrize("suffix", ["txt", "/prompt.txt", "../x"])
def test_a_suffix_is_no_path(suffix):
    """It is put behind the image's name."""
    with pytest.raises(VeoRequestError, match="prompt_suffix"):
        prompts_of(None, suffix, None)


@pytest.mark.parametrize(
    "name", ["s3://images/a/b/old cat.v2.jpg", "a/b/old cat.v2.jpg", "b/old cat.v2.jpg", "old cat.v2.jpg"]
)
def test_a_mapping_knows_an_image_by_any_of_its_names(name):
    """Its URI, its key, its path below the prefix, or its file name."""
    assert prompts_of({name: "The cat, for $5", "x.jpg": "No"}, None, None).of(CAT) == "The cat, for $5"


def test_the_longest_name_of_a_mapping_counts():
    """What is said of one image goes before what is said of all of its name."""
    mapping = {"old cat.v2.jpg": "Any cat", "b/old cat.v2.jpg": "This cat"}
    assert prompts_of(mapping, None, None).of(CAT) == "This cat"


@pytest.mark.parametrize("mapping", [{}, {"cat.jpg": "Another"}, {"old cat.v2.jpg": " "}])
def test_an_image_that_a_mapping_lacks_has_no_prompt(mapping):
    """That is the trouble of this one image, not of the task."""
    prompts = prompts_of(mapping, None, None)
    with pytest.raises(VeoRequestError, match=r"There is no prompt for s3://images/a/b/old cat\.v2\.jpg"):
        prompts.of(CAT)


def test_only_an_object_in_s3_has_metadata():
    """An image from elsewhere is rejected, with the reason."""
    with pytest.raises(VeoRequestError, match="s3://bucket/key"):
        prompts_of("By $metadata_author", None, None).of(DOG)
