"""The documentation's table of what an answer means for the money."""

from support import money_table


def test_the_table_says_what_the_code_does():
    """What is believed, done and said in each phase is made by the code; the page holds the same.

    Where it differs, write it anew with ``python tests/support/money_table.py``.
    """
    page = money_table.PAGE.read_text(encoding="utf-8")
    assert page == money_table.document(page, money_table.render())
    assert money_table.BEGIN in page


def test_nothing_after_acceptance_is_said_to_be_free_of_charge():
    """The tables for waiting and downloading never say that a video was not charged, but for a failed one."""
    accepted = money_table.render().partition("Waiting\n")[2]
    assert "othing was charged" not in accepted
    assert "No money was spent" not in accepted
    assert "correct the parameters" not in accepted
