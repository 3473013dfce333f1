"""What a gateway's list proves about lost submissions: never more than what happened."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.parsing.listing import Entry, Listing
from veo_provider.generation.evidence import (
    LATE_ROW_SECONDS,
    Absent,
    Found,
    Open,
    Sent,
    examine,
    lost_of,
    sent_of,
)
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import Receipt, ReceiptState, claim

NOW = 1_800_000_000.0
LONG_AGO = NOW - 7200
REQUEST = {"model": "veo-3.1-fast", "prompt": "A fjord", "seconds": "8"}
ACCOUNT = "veo_default at https://gateway.example/v1"


def sent(at, *, lasts=2.0, veo_task_id=None, clock="one", **request):
    """A submission that was claimed at a time and answered, or lost, some seconds later."""
    return Sent(
        claimed_at=at,
        ended_at=at + lasts,
        veo_task_id=veo_task_id,
        request={**REQUEST, **request},
        clock=clock,
        timed=veo_task_id is not None,
    )


def row(veo_task_id, at, **fields):
    """A row of the list, as the gateway shows what it was sent."""
    shown = {"model": REQUEST["model"], "prompt": REQUEST["prompt"], "seconds": 8.0, **fields}
    return Entry(id=veo_task_id, submitted_at=at, **shown)


def listing(*entries, complete=True, unexplained=(), **fields):
    return Listing(entries=entries, complete=complete, unexplained_charges=unexplained, **fields)


LOST = sent(LONG_AGO, prompt="A lost fjord")
BEFORE, AFTER = sent(LONG_AGO - 60, veo_task_id="a"), sent(LONG_AGO + 60, veo_task_id="z")
KNOWN_ROWS = (row("z", LONG_AGO + 61), row("a", LONG_AGO - 59))
LOST_ROW = row("lost", LONG_AGO + 1, prompt="A lost fjord")


def test_the_only_generation_that_fits_is_the_lost_one():
    """Prompt, model, length and time fit, and no receipt has its id."""
    assert examine(LOST, [BEFORE, AFTER], listing(*KNOWN_ROWS, LOST_ROW), NOW) == Found("lost")


def test_a_complete_list_without_it_proves_that_nothing_was_accepted():
    """A generation that was submitted later is shown, and ten minutes are over."""
    assert examine(LOST, [BEFORE, AFTER], listing(*KNOWN_ROWS), NOW) == Absent()


@pytest.mark.parametrize(
    ("others", "rows", "now", "early"),
    [
        pytest.param([BEFORE, AFTER], listing(*KNOWN_ROWS, complete=False), NOW, False, id="incomplete"),
        pytest.param([BEFORE, AFTER], listing(*KNOWN_ROWS, unexplained=(None,)), NOW, False, id="odd charge"),
        pytest.param(
            [BEFORE, AFTER],
            listing(*KNOWN_ROWS, unexplained=(REQUEST["model"],)),
            NOW,
            False,
            id="odd charge of this model",
        ),
        pytest.param(
            [BEFORE, AFTER], listing(*KNOWN_ROWS, since=LONG_AGO), NOW, False, id="reaches not back"
        ),
        pytest.param([BEFORE], listing(KNOWN_ROWS[1]), NOW, False, id="nothing later"),
        pytest.param([BEFORE, AFTER], listing(KNOWN_ROWS[1]), NOW, False, id="a stale list"),
        pytest.param([], listing(), NOW, False, id="nothing known"),
        pytest.param([BEFORE, AFTER], listing(), NOW, False, id="an empty list"),
        pytest.param([], listing(LOST_ROW), NOW, False, id="nothing to check the list by"),
        pytest.param([BEFORE, AFTER], listing(*KNOWN_ROWS), LONG_AGO + 100, True, id="too early"),
        pytest.param(
            [BEFORE, AFTER],
            listing(*KNOWN_ROWS, LOST_ROW, replace(LOST_ROW, id="twin")),
            NOW,
            False,
            id="two",
        ),
        pytest.param(
            [BEFORE, AFTER, sent(LONG_AGO + 1, prompt="A lost fjord")],
            listing(*KNOWN_ROWS, LOST_ROW),
            NOW,
            False,
            id="two lost ones",
        ),
        pytest.param(
            [BEFORE, AFTER, Sent(claimed_at=LONG_AGO, ended_at=LONG_AGO + 9, veo_task_id=None, request={})],
            listing(*KNOWN_ROWS, LOST_ROW),
            NOW,
            False,
            id="another lost one of which nothing is known",
        ),
        pytest.param(
            [BEFORE, AFTER],
            listing(*(replace(each, prompt=None) for each in (*KNOWN_ROWS, LOST_ROW))),
            NOW,
            False,
            id="no prompts",
        ),
        pytest.param(
            [BEFORE, AFTER], listing(*KNOWN_ROWS, replace(LOST_ROW, prompt=None)), NOW, False, id="no prompt"
        ),
        pytest.param(
            [BEFORE, AFTER],
            listing(*(replace(each, submitted_at=None) for each in (*KNOWN_ROWS, LOST_ROW))),
            NOW,
            False,
            id="no times",
        ),
    ],
)
def test_what_is_not_proved_stays_open(others, rows, now, early):
    """Each gap in the evidence leaves the submission unknown; only its age makes another look worth it."""
    found = examine(LOST, others, rows, now)
    assert isinstance(found, Open)
    assert found.early is early


def test_a_reason_names_the_generations_that_it_may_be():
    """A person who decides needs their ids, but not thousands of them."""
    rows = [replace(LOST_ROW, id=f"task_{number}") for number in range(9)]
    found = examine(LOST, [BEFORE, AFTER], listing(*KNOWN_ROWS, *rows), NOW)
    assert str(found) == (
        "9 generations in the gateway's list fit. It may be task_0, task_1, task_2, task_3, task_4 "
        "or one of 4 more."
    )
    assert [one["veo_task_id"] for one in found.told()] == [f"task_{number}" for number in range(5)]
    assert {one["submitted_at"] for one in found.told()} == {LOST_ROW.submitted_at}


def test_a_charge_of_another_model_has_no_part_in_it():
    """The account may be used for other things than videos."""
    rows = listing(*KNOWN_ROWS, unexplained=("gpt",))
    assert examine(LOST, [BEFORE, AFTER], rows, NOW) == Absent()


@pytest.mark.parametrize("skew", [-86_400.0, -100.0, 0.0, 7.0, 3600.0])
def test_the_gateways_clock_may_be_wrong(skew):
    """Known generations show its difference, by which the lost one's time is read."""
    rows = [replace(each, submitted_at=each.submitted_at + skew) for each in (*KNOWN_ROWS, LOST_ROW)]
    assert examine(LOST, [BEFORE, AFTER], listing(*rows), NOW) == Found("lost")
    far = replace(rows[-1], submitted_at=rows[-1].submitted_at + 30)
    assert examine(LOST, [BEFORE, AFTER], listing(*rows[:2], far), NOW) == Absent()


def test_a_worker_whose_clock_is_unknown_gets_more_time():
    """Its clock may differ by minutes from those that the list was checked by: nothing near is ruled out."""
    lost = replace(LOST, clock="another")
    near = replace(LOST_ROW, submitted_at=LONG_AGO + 200)
    assert examine(lost, [BEFORE, AFTER], listing(*KNOWN_ROWS, near), NOW) == Found("lost")
    assert isinstance(examine(lost, [BEFORE, AFTER], listing(*KNOWN_ROWS), NOW), Open)


@dataclass
class Happened:
    """What really became of a submission: what its receipt tells, and the row that the gateway has of it."""

    sent: Sent
    row: Entry | None


@st.composite
def worlds(draw):
    """An account's submissions, of which some were lost, with a list that is complete and up to date.

    Submissions of one attempt have one clock; those of another differ from it by up to a minute. Others
    use the account as well, with prompts of their own.
    """
    prompts = draw(st.integers(1, 4))
    skew = draw(st.floats(-1e5, 1e5))
    clocks = {"one": draw(st.floats(-60, 60)), "two": draw(st.floats(-60, 60))}
    happened = []
    for number in range(draw(st.integers(2, 8))):
        start, lasts = draw(st.floats(0, 600)), draw(st.floats(0.1, 60))
        clock = draw(st.sampled_from(sorted(clocks)))
        prompt = f"prompt {draw(st.integers(1, prompts))}"
        accepted = draw(st.booleans())
        known = accepted and draw(st.booleans())
        at = int(LONG_AGO + start + draw(st.floats(0, lasts)) + skew)
        told = sent(
            LONG_AGO + start + clocks[clock],
            lasts=lasts,
            veo_task_id=f"task_{number}" if known else None,
            clock=clock,
            prompt=prompt,
        )
        happened.append(Happened(told, row(f"task_{number}", at, prompt=prompt) if accepted else None))
    foreign = [
        row(f"foreign_{number}", int(LONG_AGO + draw(st.floats(0, 600)) + skew), prompt="another's")
        for number in range(draw(st.integers(0, 3)))
    ]
    return happened, foreign


@given(worlds())
def test_nothing_is_found_or_missed_that_did_not_happen(world):
    """In any world with an honest list, a found id is the submission's own, and an absent one has none."""
    happened, foreign = world
    rows = listing(*(each.row for each in happened if each.row), *foreign)
    for each in happened:
        if each.sent.veo_task_id is not None:
            continue
        others = [one.sent for one in happened if one is not each]
        found = examine(each.sent, others, rows, NOW)
        if isinstance(found, Found):
            assert each.row is not None
            assert found.veo_task_id == each.row.id
        elif isinstance(found, Absent):
            assert each.row is None


@given(worlds(), st.data())
def test_rows_that_lie_by_omission_prove_no_absence_while_they_may_be_late(world, data):
    """Rows appear late: whatever is missing from a list, nothing that is young is taken to be refused."""
    happened, foreign = world
    shown = [each.row for each in happened if each.row and data.draw(st.booleans())]
    for each in happened:
        now = each.sent.ended_at + data.draw(st.floats(0, LATE_ROW_SECONDS - 1))
        if each.sent.veo_task_id is None:
            others = [one.sent for one in happened if one is not each]
            found = examine(each.sent, others, listing(*shown, *foreign), now)
            assert not isinstance(found, Absent)


# From receipts

ME = Attempt("dag / run / me")


def claimed(**changes):
    return claim("f" * 64, {**REQUEST, "account": ACCOUNT}, 0.3, ME, seconds=60, **changes)


def test_a_claim_without_an_end_may_have_been_sent_until_it_expires():
    """Its worker was killed, so that nobody knows when it stopped."""
    receipt = claimed()
    lost = lost_of(receipt)
    assert lost == sent_of(receipt, ACCOUNT)[0]
    assert lost.ended_at == receipt.claimed_until
    assert lost.request["prompt"] == "A fjord"


def test_a_lost_submission_ends_when_its_own_attempt_says_so():
    """Another attempt that finds the claim later says nothing about its end."""
    own = claimed().transition(ReceiptState.UNKNOWN, ME, reason="reset")
    others = claimed().transition(ReceiptState.UNKNOWN, Attempt("another"), reason="dead")
    assert lost_of(own).ended_at < own.claimed_until
    assert lost_of(others).ended_at == others.claimed_until


def test_what_was_submitted_before_counts_too():
    """A lost submission that was sent again is another that a generation may belong to."""
    first = claimed().transition(ReceiptState.UNKNOWN, ME, reason="reset")
    again = claimed(after=first).transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    lost, known = sent_of(again, ACCOUNT)
    assert (lost.veo_task_id, known.veo_task_id) == (None, "task_1")
    assert known.timed
    assert lost.request == {"model": REQUEST["model"]}
    assert lost_of(again) is None


def test_only_an_id_that_came_with_the_response_shows_the_clock():
    """An id that was looked up later was not accepted when it was written down."""
    lost = claimed().transition(ReceiptState.UNKNOWN, ME, reason="reset")
    found = lost.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    assert not sent_of(found, ACCOUNT)[0].timed


def test_refusals_and_other_accounts_have_no_part_in_it():
    """A refused submission has no generation, and another account's are in another list."""
    refused = claimed().transition(ReceiptState.REFUSED, ME, reason="no")
    assert sent_of(refused, ACCOUNT) == []
    assert sent_of(claimed(), "another at https://gateway.example/v1") == []


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["state", "at", "by", "claim", "veo_task_id", "account", "model"]),
            st.one_of(st.none(), st.integers(), st.text(), st.sampled_from([s.value for s in ReceiptState])),
        )
    ),
    st.sampled_from(ReceiptState),
)
def test_a_history_of_any_form_is_read(steps, state):
    """People edit receipts: what cannot be understood is no submission, and never an error."""
    receipt = Receipt(
        state=state,
        fingerprint="f" * 64,
        request={"account": ACCOUNT},
        price_usd=None,
        claimed_by="me",
        claim_id="1",
        claimant="me",
        claimed_until=NOW,
        veo_task_id="task_1",
        history=tuple(steps),
    )
    for each in sent_of(receipt, ACCOUNT):
        assert each.ended_at >= each.claimed_at
    lost_of(receipt)
