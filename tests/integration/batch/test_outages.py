"""A batch and a service in trouble: it stops before the archive is used up, and goes on when all is well."""

import json
import logging
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.archive import fill
from support.batches import Run, rows

from veo_provider.concurrency import circuit_breaker
from veo_provider.exceptions import VeoBatchUnfinishedError
from veo_provider.polling import poller
from veo_provider.triggers import batch as trigger_module

pytestmark = pytest.mark.usefixtures("connections", "impatient")

BAD_GATEWAY = {"status": 502, "text": "<html>502 Bad Gateway</html>"}
NO_CHANNEL = {
    "status": 503,
    "body": {
        "error": {
            "message": "No available channel for model veo under group default (request id: 2026)",
            "type": "new_api_error",
            "code": "model_not_found",
        }
    },
}
GONE_MODEL = json.dumps({"error": {"code": 404, "message": "Model veo is no longer available."}})
RETIRED = {"status": 400, "body": {"code": "fail_to_fetch_task", "message": GONE_MODEL, "data": None}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tune):
    """Only pauses are shortened."""
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    tune(
        breaker_shortest_pause=0.05,
        breaker_longest_pause=0.1,
        longest_retry_pause=0.01,
        limiter_shortest_pause=0.01,
        limiter_longest_pause=0.05,
    )


@pytest.fixture
def run(s3, request):
    """Makes runs over an archive of this test's own, of so many images."""
    place = request.node.name.translate(str.maketrans("[] ", "---"))

    def new(images=0, **fields):
        fill(s3, "images", f"{place}/", images)
        prefixes = {"images": f"s3://images/{place}/", "output_prefix": f"s3://videos/{place}/"}
        return Run(**{**prefixes, "max_in_flight": 5, **fields})

    return new


def reasons(s3, run, outcome):
    """The reasons of a run's rows with an outcome."""
    found = rows(s3, {"summary_uri": f"{run.context['ti'].xcoms['folder']}summary.jsonl"})
    return {row["reason"] for row in found if row["outcome"] == outcome}


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "worker"])
def test_an_outage_is_paused_for_and_probed(sandbox, s3, run, deferrable):
    """Free checks come before an image is risked; when the service is well, everything goes on."""
    sandbox.add_faults(
        [
            {"call": "submit", "first": 4, **BAD_GATEWAY},
            {"call": "poll", "first": 3, **BAD_GATEWAY},
        ]
    )
    result = run(10, fail_on="never", deferrable=deferrable).to_its_end()
    assert result["counts"] == {"stored": 6, "unknown": 4}
    assert sandbox.charges()["count"] == len(sandbox.tasks()) == 6


def test_what_an_outage_leaves_unknown_is_set_aside_and_not_called_spent(sandbox, run):
    """The ceiling counts it, and what is told of the money tells it apart."""
    sandbox.add_faults([{"call": "submit", "first": 3, **BAD_GATEWAY}])
    batch = run(6, fail_on="never", max_cost_usd=1.5)
    _, trigger = batch.start()
    progress = batch.event_of(trigger)["progress"]
    assert progress["committed_usd"] == pytest.approx(1.50)
    assert progress["unknown_usd"] == pytest.approx(0.90)
    assert len(sandbox.tasks()) == 2


def test_an_outage_that_does_not_end_costs_a_few_images(sandbox, s3, run, caplog, capsys):
    """The batch says once why it stops, leaves the rest not started, and is tried again."""
    sandbox.add_faults([{"call": "submit", **BAD_GATEWAY}])
    batch = run(14, deferrable=False)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(VeoBatchUnfinishedError, match="6 not started, 8 unknown"),
    ):
        batch.to_its_end()
    (reason,) = reasons(s3, batch, "not started")
    assert "No submission was accepted" in reason
    assert "502" in reason
    said = caplog.text + capsys.readouterr().out
    assert said.count("Nothing more is submitted") == 1
    sandbox.clear_faults()
    assert run(try_number=2, fail_on="never").to_its_end()["counts"] == {"stored": 6, "unknown": 8}
    assert sandbox.charges()["count"] == 6


def test_no_image_is_risked_while_the_free_check_fails(sandbox, run, tune):
    """After the patience with an outage, nothing was submitted but what showed it."""
    tune(breaker_patience=1.0)
    sandbox.add_faults([{"call": "submit", **BAD_GATEWAY}, {"call": "poll", **BAD_GATEWAY}])
    with pytest.raises(VeoBatchUnfinishedError, match="17 not started, 3 unknown"):
        run(20).to_its_end()


def test_a_worker_does_not_wait_for_an_outage_to_end(sandbox, run, tune):
    """It defers; the pause and the count of failures go on in the triggerer."""
    tune(breaker_shortest_pause=100.0, breaker_longest_pause=100.0)
    sandbox.add_faults([{"call": "submit", "first": 4, **BAD_GATEWAY}])
    batch = run(7, fail_on="never")
    _, trigger = batch.start()
    assert trigger.progress["counts"] == {"unknown": 3}
    breaker = trigger.progress["breaker"]
    assert breaker["pauses"] == 1
    assert breaker["paused_until"] > time.time() + 30
    breaker["paused_until"] = time.time()
    tune(breaker_longest_pause=0.1)
    event = batch.event_of(trigger)
    assert event["progress"]["counts"] == {"unknown": 4}, "one probe, and not three more"
    assert batch.resume(event)[0]["counts"] == {"stored": 3, "unknown": 4}


def test_a_gateway_without_a_channel_costs_no_image(sandbox, run):
    """It has relayed nothing: after a while, each image is submitted all the same."""
    sandbox.add_faults([{"call": "submit", "first": 6, **NO_CHANNEL}])
    assert run(12).to_its_end()["counts"] == {"stored": 12}
    assert sandbox.charges()["count"] == 12


def test_a_gateway_that_stays_without_a_channel_ends_the_try(sandbox, run):
    """Nothing is unknown, nothing is rejected, and the next try finds everything not started."""
    sandbox.add_faults([{"call": "submit", **NO_CHANNEL}])
    with pytest.raises(VeoBatchUnfinishedError, match="12 not started"):
        run(12).to_its_end()
    sandbox.clear_faults()
    assert run(try_number=2).to_its_end()["counts"] == {"stored": 12}


def test_a_retired_model_stops_a_batch(sandbox, s3, run):
    """What was accepted before is stored, and the archive is not used up."""
    sandbox.add_faults([{"call": "submit", "occurrence": list(range(3, 40)), **RETIRED}])
    batch = run(20, max_in_flight=1)
    with pytest.raises(AirflowFailException, match=r"2 stored.*no longer available"):
        batch.to_its_end()
    found = rows(s3, {"summary_uri": f"{batch.context['ti'].xcoms['folder']}summary.jsonl"})
    counts = Counter(row["outcome"] for row in found)
    assert counts["rejected"] <= circuit_breaker.THRESHOLD
    assert counts["not started"] == 18 - counts["rejected"]
    assert sandbox.charges()["count"] == 2


def test_the_same_refusal_again_and_again_stops_a_batch(sandbox, s3, run):
    """A few images are rejected, and the reason for the others says why."""
    refused = {"error": {"message": "Unsupported size '1x1' (request id: 42)", "code": "invalid_size"}}
    sandbox.add_faults([{"call": "submit", "status": 400, "body": refused}])
    batch = run(20)
    with pytest.raises(AirflowFailException, match=r"17 not started, 3 rejected.*Unsupported size"):
        batch.to_its_end()
    (reason,) = reasons(s3, batch, "not started")
    assert "Unsupported size" in reason


@pytest.mark.parametrize(
    ("outcome", "message"),
    [("moderated", "PUBLIC_ERROR_UNSAFE_CONTENT"), ("rejected", "input_reference is not a picture")],
)
def test_what_is_wrong_with_images_stops_nothing(sandbox, run, outcome, message):
    """However many of them come in a row, each is its own row."""
    refused = {"code": "fail_to_fetch_task", "message": message, "data": None}
    sandbox.add_faults([{"call": "submit", "first": 6, "status": 400, "body": refused}])
    result = run(8, fail_on="never", max_in_flight=1).to_its_end()
    assert result["counts"] == {outcome: 6, "stored": 2}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (
            "content",
            {"status": 409, "body": {"error": {"message": "file is being moved", "code": "conflict"}}},
        ),
        ("content", {"status": 422, "text": "unprocessable"}),
        ("content", {"status": 451, "text": "unavailable"}),
        ("content", {"status": 403, "text": "<html>firewall</html>"}),
        ("content", {"status": 401, "text": "no"}),
        ("poll", {"status": 409, "text": "conflict"}),
        ("poll", {"status": 400, "text": "<html>400 Bad Request</html>"}),
        ("poll", {"status": 400, "body": {"error": {"message": "blocked by access policy"}}}),
        ("poll", {"status": 402, "text": "pay"}),
    ],
    ids=str,
)
def test_nothing_that_is_paid_is_called_refused(sandbox, s3, run, call, answer):
    """The row names the generation, and the next try fetches its video, whatever share may be missing."""
    sandbox.add_faults([{"call": call, **answer}])
    batch = run(1, timeout=3.0 if call == "poll" else 600.0, fail_on=1.0)
    with pytest.raises(VeoBatchUnfinishedError, match="1 under way"):
        batch.to_its_end()
    (reason,) = reasons(s3, batch, "under way")
    assert sandbox.tasks()[0]["task_id"] in reason
    assert "A retry continues with the same generation" in reason
    sandbox.clear_faults()
    assert run(try_number=2).to_its_end()["counts"] == {"stored": 1}
    assert sandbox.charges()["count"] == len(sandbox.tasks()) == 1


@pytest.mark.parametrize("status", [404, 401], ids=["no such task", "wrong key"])
def test_a_refused_poll_is_repeated_for_a_while_only(sandbox, s3, run, monkeypatch, status):
    """Then the generation is left to the next try, long before its deadline."""
    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.3)
    said = {"error": {"message": "task_not_exist", "code": "task_not_exist"}}
    sandbox.add_faults([{"call": "poll", "status": status, "body": said}])
    batch = run(1)
    with pytest.raises(VeoBatchUnfinishedError, match="1 under way"):
        batch.to_its_end()
    polls = sandbox.summary()["polls"]
    assert polls >= poller.REFUSED_POLLS
    sandbox.clear_faults()
    assert run(try_number=2).to_its_end()["counts"] == {"stored": 1}


def test_a_wrong_key_stops_submissions_and_leaves_what_is_under_way(sandbox, run, monkeypatch):
    """The key may have been changed: nothing more is sent with it, and nothing that is paid is given up."""
    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.3)
    sandbox.add_faults([{"call": "poll", "status": 401, "body": {"error": {"message": "Invalid API key"}}}])
    with pytest.raises(VeoBatchUnfinishedError, match="5 not started, 1 under way"):
        run(6, max_in_flight=1).to_its_end()
    assert len(sandbox.tasks()) == 1


def test_a_video_that_was_held_back_is_lost_and_told(sandbox, s3, run):
    """It is charged, its row says why there is none, and only the wish for another one pays again."""
    held_back = {"error": {"message": "The video was held back by the safety filter", "code": "filtered"}}
    sandbox.add_faults([{"call": "content", "status": 400, "body": held_back}])
    batch = run(1, fail_on="never")
    result = batch.to_its_end()
    assert (result["counts"], result["cost_usd"]) == ({"lost": 1}, 0.30)
    (reason,) = reasons(s3, batch, "lost")
    assert "held back by the safety filter" in reason
    sandbox.clear_faults()
    assert run(try_number=2).to_its_end()["counts"] == {"stored": 1}
    assert sandbox.charges()["count"] == 1


def test_a_failure_that_leaves_the_charge_open_is_not_made_again(sandbox, s3, run):
    """Nobody pays twice because of a word that does not say whether the first one is charged."""
    sandbox.add_faults(
        [
            {"call": "submit", "fail": {"code": "oops", "message": "too late"}},
            {"call": "poll", "words": {"failed": "expired"}},
        ]
    )
    batch = run(1, fail_on="never")
    assert batch.to_its_end()["counts"] == {"lost": 1}
    (reason,) = reasons(s3, batch, "lost")
    assert "may have been charged" in reason
    assert len(sandbox.tasks()) == 1


@pytest.fixture
def denying(sandbox, monkeypatch):
    """Stands before S3, and lets nobody read or write receipts, as a policy may."""
    aws = json.loads(sandbox.aws_conn())
    behind = urlsplit(aws["extra"]["endpoint_url"])
    verbs = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if ".veo.json" in self.path and self.command in verbs:
                denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                self.reply(403, {"Content-Type": "application/xml"}, denied)
                return
            with closing(HTTPConnection(behind.hostname, behind.port)) as connection:
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                self.reply(found.status, dict(found.getheaders()), found.read())

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

        def reply(self, status, headers, body):
            self.send_response(status)
            kept = {name: value for name, value in headers.items() if name.lower() != "transfer-encoding"}
            for name, value in ({"Content-Length": str(len(body))} | kept).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        aws["extra"]["endpoint_url"] = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
        yield verbs
        server.shutdown()


def test_receipts_that_may_not_be_read_end_a_batch(sandbox, run, denying):
    """Nobody knows what is paid, and it makes no sense to try that with thousands of images."""
    denying += ["GET"]
    with pytest.raises(AirflowFailException, match=r"cannot be read.*s3:ListBucket"):
        run(8).to_its_end()
    assert sandbox.tasks() == []


def test_receipts_that_may_not_be_written_stop_a_batch(sandbox, run, denying):
    """Nothing is submitted without them, and the archive is not walked through for that."""
    denying += ["PUT"]
    with pytest.raises(AirflowFailException, match=r"cannot be written.*s3:PutObject"):
        run(8).to_its_end()
    assert sandbox.tasks() == []
