"""What is read of a gateway's list of generations: never more than it says, whatever it answers."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.http.response import Response
from veo_provider.api.parsing import listing
from veo_provider.api.parsing.listing import Entry, read_tasks, read_videos
from veo_provider.exceptions import VeoAPIError, VeoError, VeoUnexpectedAnswerError

SINCE = 1_800_000_000.0
SECRET = "sk-in-a-row"
NAMES = ["data", "items", "total", "has_more", "id", "task_id", "created_at", "submit_time", "properties"]
NAMES += ["input", "type", "content", "model_name", "prompt", "seconds", "success"]
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(SECRET)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=5), st.sampled_from(NAMES)), inner, max_size=5),
    ),
    max_leaves=30,
)


def answer(value, status=200):
    return Response(status, json.dumps(value).encode())


def video(number, **fields):
    return {"id": f"video_{number}", "created_at": SINCE + number, "model": "veo", **fields}


def test_videos_are_read_page_by_page_to_the_last():
    """The cursor is the last id of the page before."""
    pages = {"": [video(9), video(8)], "video_8": [video(7)]}
    asked = []

    def fetch(path):
        after = parse_qs(urlsplit(path).query).get("after", [""])[0]
        asked.append(after)
        return answer({"data": pages[after], "has_more": after == ""})

    found = read_videos(fetch, "/videos", SINCE)
    assert found.complete
    assert [entry.id for entry in found.entries] == ["video_9", "video_8", "video_7"]
    assert asked == ["", "video_8"]


def test_pages_older_than_what_is_asked_for_are_not_read():
    """A list of years is not read to its beginning, but to a whole page of older ones."""
    pages = iter([[video(5), video(-5)], [video(-6), video(-7)]])
    found = read_videos(lambda _: answer({"data": next(pages), "has_more": True}), "/videos", SINCE)
    assert found.complete
    assert found.since == SINCE
    assert len(found.entries) == 4


@pytest.mark.parametrize(
    "pages",
    [
        [[video(-9), video(-8)], [video(5)]],
        [[video(9), video(8, created_at=1)], [video(7)]],
        [[video(9)], [video(-5), video(6)], [video(5)]],
        [[video(9)], [video(-5, created_at=None)], [video(5)]],
    ],
    ids=["oldest first", "one odd time", "no order", "no time"],
)
def test_a_list_that_is_not_newest_first_is_read_to_its_end(pages):
    """What is older than asked for says nothing of what follows."""
    turns = iter(pages)
    left = len(pages)

    def fetch(_):
        nonlocal left
        left -= 1
        return answer({"data": next(turns), "has_more": left > 0})

    found = read_videos(fetch, "/videos", SINCE)
    assert found.complete
    assert len(found.entries) == sum(map(len, pages))


def test_a_list_that_does_not_say_whether_it_goes_on_is_read_until_a_page_is_empty():
    """The server may send fewer rows than asked for."""
    pages = iter([[video(9)], [video(8)], []])
    found = read_videos(lambda _: answer({"data": next(pages)}), "/videos", SINCE)
    assert found.complete
    assert len(found.entries) == 2


@pytest.mark.parametrize(
    "page",
    [
        {"data": [video(9)], "has_more": True},
        {"data": [video(9), {"id": 7.5}], "has_more": False},
        {"data": [video(9), None], "has_more": False},
        {"data": [], "has_more": True},
        {"data": None, "has_more": False},
        {},
    ],
    ids=["goes in circles", "odd id", "no row", "empty and more", "no rows", "nothing"],
)
def test_a_list_that_cannot_be_read_whole_is_not_complete(page):
    """Whatever is missing may be the one that was lost."""
    assert not read_videos(lambda _: answer(page), "/videos", SINCE).complete


def test_an_endless_list_ends():
    """A gateway that always has another page is asked a limited number of times."""
    numbers = iter(range(10**6, 0, -1))
    asked = []

    def fetch(path):
        asked.append(path)
        return answer({"data": [video(next(numbers))], "has_more": True})

    assert not read_videos(fetch, "/videos", SINCE).complete
    assert len(asked) == listing.MOST_PAGES


def test_odd_fields_are_unknown_fields():
    """A row says what it says: numbers may be texts and times milliseconds, anything else is None."""
    rows = [
        video(1, created_at=(SINCE + 1) * 1000, seconds="8", prompt="A fjord", size="1280x720"),
        video(2, created_at="soon", seconds=True, prompt=7, model=["veo"], size={}),
    ]
    found = read_videos(lambda _: answer({"data": rows, "has_more": False}), "/videos", SINCE)
    assert found.entries == (
        Entry(
            id="video_1",
            submitted_at=SINCE + 1,
            model="veo",
            prompt="A fjord",
            seconds=8.0,
            size="1280x720",
        ),
        Entry(id="video_2"),
    )


def tasks_and_log(tasks, log, page_size=2):
    """A gateway with a task list, whose pages count from 1, and a log, whose pages count from 0."""

    def fetch(path):
        parts = urlsplit(path)
        page = int(parse_qs(parts.query)["p"][0])
        rows, first = (tasks, 1) if parts.path == "/api/task/self" else (log, 0)
        start = (page - first) * page_size
        items = rows[start : start + page_size]
        return answer({"success": True, "data": {"items": items, "total": len(rows)}})

    return fetch


def task(number, sent=None, **fields):
    sent = {"model": "veo", "prompt": f"prompt {number}", "seconds": "8"} if sent is None else sent
    row = {"task_id": f"task_{number}", "submit_time": SINCE + number, "properties": {"input": sent}}
    return {**row, "model_name": "veo", **fields}


def charge(text, **fields):
    return {"type": 2, "content": text, "model_name": "veo", "token_key": SECRET, **fields}


@pytest.mark.parametrize("form", [lambda sent: sent, json.dumps], ids=["object", "text"])
def test_tasks_are_read_with_what_was_sent(form):
    """The input is an object, or its JSON as a text."""
    rows = [task(number, form({"model": "veo", "prompt": "A fjord", "seconds": "8"})) for number in range(5)]
    found = read_tasks(tasks_and_log(rows, []), SINCE, ["veo"])
    assert found.complete
    assert len(found.entries) == 5
    assert {(entry.model, entry.prompt, entry.seconds) for entry in found.entries} == {
        ("veo", "A fjord", 8.0)
    }


def test_a_charge_that_names_no_task_is_unexplained():
    """It may be of a task whose row is missing; refunds and charges of other models are none of videos."""
    log = [
        charge("charge of the video task task_1."),
        charge("charge of the video task task_99"),
        charge("charge without a name", model_name=None),
        charge("charge of a chat", model_name="gpt"),
        charge("refund of task_98", type=11),
    ]
    found = read_tasks(tasks_and_log([task(1)], log), SINCE, ["veo"])
    assert found.unexplained_charges == (None, None, "gpt")


@pytest.mark.parametrize("kind", ["2", None, True, 2.0])
def test_a_row_of_an_unknown_type_counts_as_a_charge(kind):
    """Only another number is certainly none."""
    found = read_tasks(tasks_and_log([], [charge("of nothing", type=kind)]), SINCE, ["veo"])
    assert found.unexplained_charges == (None,)


def test_a_row_that_is_no_object_makes_the_log_incomplete():
    """It may be the charge that is looked for."""
    assert not read_tasks(tasks_and_log([task(1)], [[2, "charge"]]), SINCE, ["veo"]).complete


def test_a_task_list_that_grows_while_it_is_read_is_complete():
    """New rows move the others on, so that some come twice; all that were there at first are read."""
    rows = [task(number) for number in range(6, 0, -1)]

    def fetch(path):
        parts = urlsplit(path)
        if parts.path != "/api/task/self":
            return answer({"data": {"items": [], "total": 0}})
        start = (int(parse_qs(parts.query)["p"][0]) - 1) * 2
        page = answer({"data": {"items": rows[start : start + 2], "total": len(rows)}})
        rows.insert(0, task(len(rows) + 1))
        return page

    found = read_tasks(fetch, SINCE, ["veo"])
    assert found.complete
    assert {f"task_{number}" for number in range(1, 7)} <= {entry.id for entry in found.entries}


def test_a_task_list_that_ignores_its_page_number_is_not_complete():
    """The same rows again are no others."""
    page = answer({"data": {"items": [task(1), task(2)], "total": 5}})
    assert not read_tasks(lambda _: page, SINCE, ["veo"]).complete


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 418])
def test_an_error_is_an_error_of_a_free_call(status):
    """It says nothing about money, and its text shows no row."""
    with pytest.raises(VeoAPIError) as refused:
        read_videos(lambda _: answer({"error": {"message": "no"}}, status), "/videos", SINCE)
    assert "charged when" not in str(refused.value)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"success": false, "message": "sk-in-a-row"}', b'{"data"']
)
def test_what_is_no_list_is_an_error_that_shows_nothing_of_it(body):
    """Its text may hold keys."""
    with pytest.raises(VeoUnexpectedAnswerError) as refused:
        read_videos(lambda _: Response(200, body), "/videos", SINCE)
    assert "sk-in" not in str(refused.value)


@given(st.lists(ANY_JSON, min_size=1, max_size=4), st.sampled_from([200, 200, 200, 401, 404, 500]))
def test_whatever_the_answers_are_a_listing_or_an_error_comes_of_them(answers, status):
    """No answer raises anything else, is shown, or makes an entry without an id."""
    for read in (
        lambda fetch: read_videos(fetch, "/videos", SINCE),
        lambda fetch: read_tasks(fetch, SINCE, ["veo"]),
    ):
        turns = iter(answers * listing.MOST_PAGES)

        def fetch(_, turns=turns):
            return answer(next(turns, None), status)

        try:
            found = read(fetch)
        except VeoError as error:
            assert SECRET not in str(error)  # noqa: PT017 - most answers raise nothing
        else:
            assert all(entry.id for entry in found.entries)
            assert len({entry.id for entry in found.entries}) == len(found.entries)
