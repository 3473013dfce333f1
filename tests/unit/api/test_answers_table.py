"""The documentation's page of answers, made of the rows that a test tries."""

from support import answers_table
from support.answers import GROUPS, ROWS
from support.answers.row import OWN, Content, Poll, Submit

from veo_provider.generation import retries

AT_LEAST = 60


def test_the_page_says_what_the_rows_do():
    """Where it differs, write it anew with ``python tests/support/answers_table.py``."""
    assert answers_table.PAGE.read_text(encoding="utf-8") == answers_table.render()


def test_each_row_has_a_name_and_a_source_of_its_own():
    """There are many of them, of public reports first of all."""
    names = [row.name for row in ROWS]
    reported = [row for row in ROWS if row.source != OWN]
    assert len(set(names)) == len(names)
    assert len(reported) >= AT_LEAST
    assert all(row.source.startswith("https://") for row in reported)
    assert all(group.lead.endswith(".") for group in GROUPS)


def test_it_says_how_often_a_lost_video_is_asked_for():
    """The numbers are those of the retries."""
    assert retries.STORE_ATTEMPTS == 6
    assert "six attempts" in Content.LOST.value
    assert retries.FILTERED_ATTEMPTS == 3
    assert "three attempts" in Content.HELD.value


def test_no_failure_is_told_where_a_submission_was_named():
    """What a submission is kept for is never at the same time believed to have failed without a charge."""
    assert not [row.name for row in ROWS if row.submit is Submit.NAMED and row.poll is Poll.FAILED]
