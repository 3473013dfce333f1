"""What LiteLLM's proxy makes of a submission that goes wrong: its bill against the receipt."""

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from gateways import proxy

from veo_provider.exceptions import VeoError
from veo_provider.receipts.charges import charges_of

LOST = [
    {"status": 500, "accept": True},
    {"status": 502, "accept": True},
    {"status": 504, "accept": True},
    {"status": 408, "accept": True},
    {"status": 409, "accept": True},
    {"reset": "after"},
    {"garbage": True, "accept": True},
    {"garbage": "json", "accept": True},
    {"status": 500, "accept": True, "body": {"error": {"message": "a rate limit upstream", "code": "x"}}},
    {"status": 500, "accept": True, "body": {"error": {"message": "oops", "type": "invalid_request_error"}}},
    {"status": 503, "accept": True, "text": "rate limit"},
]
"""Accepted upstream and charged, then lost."""
FAILS = (AirflowFailException, VeoError)
NO = {"error": {"message": "Invalid size", "type": "invalid_request_error", "code": "invalid_value"}}


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_an_accepted_submission_is_not_repeated(relayed, make_one, receipt, fault):
    """The proxy's own repeats are turned off, the receipt says unknown, and a retry submits nothing."""
    relayed.add_faults([{"call": "submit", **fault}])
    for _ in range(2):
        with pytest.raises(FAILS, match="may have been accepted"):
            make_one()
    found = receipt()
    assert found.state.value == "unknown"
    assert len(relayed.tasks()) == 1
    assert charges_of(found, found.claimant).unknown == relayed.charges()["usd"] == 0.40


def test_without_the_header_the_proxy_pays_again(relayed, proxy_url, make_one, monkeypatch):
    """The gateway ``openai`` does not turn its repeats off: one submission is charged three times."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", proxy.connection(proxy_url, "openai"))
    relayed.add_faults([{"call": "submit", "status": 500, "accept": True}])
    with pytest.raises(FAILS):
        make_one()
    assert len(relayed.tasks()) == 3


def test_a_fallback_that_the_proxy_pays_for_is_counted(relayed, make_one, receipt, caplog):
    """A second model makes the video: two generations in the receipt, two charges on the bill."""
    relayed.add_faults([{"call": "submit", "occurrence": 1, "status": 500, "accept": True}])
    make_one(model="veo-with-fallback")
    found = receipt()
    assert (found.state.value, found.generations) == ("stored", 2)
    # The proxy does not say which model it asked: each counts with the price of the one that was asked for.
    assert charges_of(found, found.claimant).charged == pytest.approx(0.80)
    assert relayed.charges()["count"] == 2
    assert "1 more times by itself" in caplog.text


@pytest.mark.parametrize(
    ("first", "second", "charges"),
    [
        ({"status": 500, "accept": True}, {"status": 500, "accept": True}, 2),
        ({"status": 500, "accept": True}, {"status": 400, "body": NO}, 1),
        ({"status": 400, "body": NO}, {"status": 500, "accept": True}, 1),
    ],
    ids=["both accepted", "first accepted", "fallback accepted"],
)
def test_a_fallback_that_failed_as_well_leaves_it_unknown(relayed, make_one, receipt, first, second, charges):
    """The proxy's status is that of the first model alone: a refusal by it does not mean "not charged"."""
    faults = [{"occurrence": 1, **first}, {"occurrence": 2, **second}]
    relayed.add_faults([{"call": "submit", **each} for each in faults])
    for _ in range(2):
        with pytest.raises(FAILS, match="may have been accepted"):
            make_one(model="veo-with-fallback")
    found = receipt()
    assert found.state.value == "unknown"
    assert charges_of(found, found.claimant).unknown == pytest.approx(2 * 0.40)
    assert relayed.charges()["count"] == charges


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"status": 400, "body": NO}, "Invalid size"),
        (
            {"status": 400, "body": {"error": {"code": "PUBLIC_ERROR_UNSAFE", "message": "No"}}},
            "Change the im",
        ),
        ({"status": 402, "body": {"error": {"code": "insufficient_quota", "message": "No"}}}, "top it up"),
        ({"status": 401, "body": {"error": {"code": "invalid_api_key", "message": "No"}}}, "password"),
        ({"retired": 404}, "use another model"),
    ],
    ids=["400", "moderated", "empty", "key", "retired"],
)
def test_a_refusal_is_the_upstreams_own(relayed, make_one, receipt, fault, says):
    """Although the proxy writes its words around it: nothing is charged, and the cause is told."""
    relayed.add_faults([{"call": "submit", **fault}])
    with pytest.raises(FAILS, match=says):
        make_one()
    assert receipt().state.value == "refused"
    assert relayed.tasks() == []


def test_too_many_requests_are_retried(relayed, make_one):
    """A 429 that says so itself is no acceptance: the submission follows later, and is charged once."""
    limited = {"error": {"message": "Too many requests", "type": "x", "code": "rate_limit_exceeded"}}
    relayed.add_faults([{"call": "submit", "first": 2, "status": 429, "body": limited}])
    make_one()
    assert relayed.charges()["count"] == 1
