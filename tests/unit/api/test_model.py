"""Until when a model is served."""

import logging
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.model import WARNING_TIME, Model
from veo_provider.exceptions import VeoModelRetiredError

ENDS = date(2026, 10, 22)


def seconds_of(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc).timestamp()


def test_a_model_that_has_ended_is_refused_with_its_successor():
    """The error says that nothing was charged, what to use, and how to say that it is still served."""
    model = Model(name="veo-old", ends=ENDS, successor="veo-new")
    with pytest.raises(VeoModelRetiredError) as error:
        model.require_served(seconds_of(ENDS))
    assert "veo-old ended on 2026-10-22. Its successor is veo-new." in str(error.value)
    assert '{"models": {"veo-old": {"ends": null}}}' in str(error.value)
    assert not error.value.retryable


def test_a_model_that_ends_soon_warns_once(caplog):
    """The warning comes a month before, and not for each video."""
    model = Model(name="veo-that-warns-once", ends=ENDS, successor="veo-new")
    with caplog.at_level(logging.WARNING):
        model.require_served(seconds_of(ENDS - WARNING_TIME - timedelta(days=1)))
        assert caplog.text == ""
        for _ in range(3):
            model.require_served(seconds_of(ENDS - WARNING_TIME))
    assert caplog.text.count("veo-that-warns-once ends on 2026-10-22. Its successor is veo-new.") == 1


@given(ends=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)), now=st.floats(0, 4e9))
def test_a_model_is_served_until_the_day_of_its_end(ends, now):
    """The day is that of UTC, whatever the machine's zone; a model without an end is always served."""
    over = ends is not None and datetime.fromtimestamp(now, timezone.utc).date() >= ends
    try:
        Model(name="m", ends=ends).require_served(now)
    except VeoModelRetiredError:
        assert over
    else:
        assert not over
