"""Values of parameters as templates, XComs and rows of a table give them."""

import copy
import json
import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.request import MAX_TEXT_BYTES, VeoRequest
from veo_provider.exceptions import VeoRequestError
from veo_provider.operators.template_fields import TemplateFields
from veo_provider.parameters import (
    as_bool,
    as_connection,
    as_int,
    as_place,
    as_places,
    as_positive,
    as_prompts,
    as_seconds,
    as_task_id,
    as_terms,
    as_text,
    as_usd,
    is_nothing,
)

NOTHING = [None, "", "  ", "None", "null", "nan", float("nan")]


@pytest.mark.parametrize("value", NOTHING)
def test_nothing_is_nothing_for_what_may_be_left_out(value):
    """An empty cell and a template of None leave an optional parameter out."""
    assert is_nothing(value)
    assert as_text("x", value) is None
    assert as_int("x", value) is None


@pytest.mark.parametrize("value", NOTHING)
def test_nothing_is_no_guard(value):
    """A ceiling or a switch that renders to nothing is refused: it must not stand for no limit."""
    for read in (as_usd, as_bool, as_positive):
        with pytest.raises(VeoRequestError, match=r"x must be .*; got "):
            read("x", value)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(True, True), ("True", True), ("yes", True), (1, True), (False, False), ("False", False), ("0", False)],
)
def test_a_boolean_may_be_a_text(value, meaning):
    """A CSV file and a template have texts for booleans."""
    assert as_bool("x", value) is meaning


@pytest.mark.parametrize("value", ["maybe", 2, [], "on "])
def test_what_is_no_boolean_is_refused(value):
    """Nothing is taken for true because it is not empty."""
    with pytest.raises(VeoRequestError, match="True or False"):
        as_bool("x", value)


@pytest.mark.parametrize(("value", "meaning"), [(7, 7), ("7", 7), (7.0, 7), (" 7 ", 7), (-1, -1)])
def test_an_integer_may_be_a_text_or_a_whole_float(value, meaning):
    """A table makes floats of a column that has empty cells."""
    assert as_int("x", value) == meaning


@pytest.mark.parametrize("value", ["7.5", 7.5, True, [7], "seven", float("inf")])
def test_what_is_no_integer_is_refused(value):
    """A fraction, a boolean and a list are no integers."""
    with pytest.raises(VeoRequestError, match="must be an integer"):
        as_int("x", value)


@pytest.mark.parametrize("value", ["-1", -0.5, "inf", "nan", True, "ten", []])
def test_what_is_no_amount_is_refused(value):
    """A budget is a number of dollars from 0."""
    with pytest.raises(VeoRequestError, match="US dollars"):
        as_usd("x", value)


@pytest.mark.parametrize(("value", "meaning"), [("p", "p"), (1984, "1984"), (8.0, "8"), (2.5, "2.5")])
def test_a_text_may_be_a_number(value, meaning):
    """Native rendering makes a number of a prompt like 1984."""
    assert as_text("x", value) == meaning


@pytest.mark.parametrize("value", [["blur", "text"], {"a": 1}, True, b"p", float("inf")])
def test_what_is_no_text_is_refused(value):
    """A list from an XCom is told by its type, before anything is sent."""
    with pytest.raises(VeoRequestError, match="must be a text"):
        as_text("x", value)


def test_terms_may_be_a_list():
    """What should not be seen is often a list; an empty one is nothing."""
    assert as_terms("x", ["blur", "text", None]) == "blur, text"
    assert as_terms("x", "blur") == "blur"
    assert as_terms("x", []) is None
    with pytest.raises(VeoRequestError, match="must be a text"):
        as_terms("x", [["blur"]])


def test_template_fields_answer_for_parameters_of_another_name():
    """A mapped operator finds the upstream tasks of `output`, and renders `output_uri` alone."""
    fields = TemplateFields(("image", "output_uri"), ("output",))
    for same in (fields, copy.deepcopy(fields), pickle.loads(pickle.dumps(fields))):  # noqa: S301 - our own
        assert "output" in same
        assert "prompt" not in same
        assert list(same) == ["image", "output_uri"]


CUT = json.loads('"The rocket lifts off \\ud83d"')


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "model"])
@pytest.mark.parametrize(
    ("value", "said"), [(CUT, "half a character"), ("x" * (MAX_TEXT_BYTES + 1), "at most")]
)
def test_a_text_that_cannot_be_sent_is_refused_at_once(field, value, said):
    """Half a character and an endless text are bad input, and no lost answer."""
    with pytest.raises(VeoRequestError, match=said):
        VeoRequest(**{"prompt": "p", field: value})


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "model"])
@pytest.mark.parametrize("value", [["blur"], 7, b"p"])
def test_a_field_of_another_type_is_refused_at_once(field, value):
    """Types are checked where the request is made, for whoever makes it."""
    with pytest.raises(VeoRequestError, match="must be a text"):
        VeoRequest(**{"prompt": "p", field: value})


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["None", "False", "1984", "8", " 7 ", "s3://b/k", "7.0", 8, 8.0])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
"""What JSON, XCom and native rendering give."""


def is_text(value):
    return isinstance(value, str)


READERS = {
    as_bool: lambda read: isinstance(read, bool),
    as_int: lambda read: read is None or type(read) is int,
    as_positive: lambda read: type(read) is int and read >= 1,
    as_usd: lambda read: isinstance(read, float) and 0 <= read < math.inf,
    as_text: lambda read: read is None or is_text(read),
    as_terms: lambda read: read is None or is_text(read),
    as_seconds: lambda read: read is None or (is_text(read) and 0 < float(read) < math.inf),
    as_place: lambda read: is_text(read) and not is_nothing(read),
    as_places: lambda read: is_text(read) or all(is_text(each) for each in read),
    as_prompts: lambda read: read is None or is_text(read) or all(map(is_text, (*read, *read.values()))),
    as_connection: lambda read: is_text(read) and not is_nothing(read),
    lambda _, value: as_task_id(value): is_text,
}


@pytest.mark.parametrize("read", READERS)
@given(value=VALUES)
def test_any_value_is_read_or_refused(read, value):
    """Whatever comes is of the parameter's type, or ends in our own error in a line of its own."""
    try:
        assert READERS[read](read("x", value))
    except VeoRequestError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said
    assert len(said) < 1000


@pytest.mark.parametrize("read", READERS)
def test_a_number_without_end_is_refused(read):
    """Python does not even write it out."""
    with pytest.raises(VeoRequestError):
        read("x", 10**5000)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_text_that_it_was(number):
    """Native rendering reads a prompt as a number, and the number's text is the prompt again."""
    assert type(number)(as_text("prompt", number)) == number


def test_a_place_may_be_a_path_object():
    """Its text is taken, with scheme and connection."""
    assert as_place("x", Path("/data/a.jpg")) == "/data/a.jpg"
    assert as_places("x", [Path("a.jpg"), "s3://b/c.jpg"]) == ["a.jpg", "s3://b/c.jpg"]
    assert as_places("x", Path("/data/a.jpg")) == "/data/a.jpg"


@pytest.mark.parametrize("value", [["a.jpg", None], ["a.jpg", 7], {"a": "b"}, b"a.jpg", 7, [["a.jpg"]]])
def test_what_is_no_list_of_places_is_refused(value):
    """An entry is told by its place in the list."""
    with pytest.raises(VeoRequestError, match=r"x(\[[01]\])? must be .*; got "):
        as_places("x", value)


def test_an_id_may_be_a_number():
    """Some services hand out ids of digits only."""
    assert as_task_id(123456) == "123456"
    assert as_connection("veo_conn_id", 2026) == "2026"
    assert as_connection("aws_conn_id", "None", optional=True) is None
