"""A person settles a lost response: the next run attaches to the generation, or submits once more."""

import json
import subprocess
import sys
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider import settle
from veo_provider.api.parsing.listing import Entry
from veo_provider.exceptions import VeoSettlementError, VeoUnknownReceiptError
from veo_provider.generation import look_up, settlement
from veo_provider.generation.evidence import Open
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.receipts.attempt import Attempt, Person
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
from veo_provider.s3.uri import S3Uri

pytestmark = pytest.mark.usefixtures("connections")

VIDEO = "s3://videos/settled/one.mp4"
RECEIPT = f"{VIDEO}.veo.json"
ADA = Person("a person (ada)")
LOSE = [{"call": "submit", "first": 1, "reset": "after"}]


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index = "clips", "monday", "make", -1

    def __init__(self, try_number=1):
        self.try_number = try_number


def make(try_number=1, output=VIDEO, **fields):
    task = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="The rocket lifts off",
        seconds="4",
        output=output,
        deferrable=False,
        poll_interval=0.1,
        **fields,
    )
    return task.execute({"ti": Instance(try_number)})


def store_of(s3, uri=VIDEO):
    return S3ReceiptStore(s3, sidecar_of(S3Uri.parse(uri, "uri")))


@pytest.fixture
def lost(sandbox, s3):
    """The store of a receipt whose generation runs, and whose response was lost."""
    sandbox.add_faults(LOSE)
    with pytest.raises(AirflowFailException, match="may have been accepted"):
        make()
    sandbox.clear_faults()
    assert len(sandbox.tasks()) == 1
    return store_of(s3)


def the_id(sandbox):
    (task,) = sandbox.tasks()
    return task["task_id"]


def charges(sandbox):
    """The bill, once nothing is under way."""
    while any(task["status"] not in ("completed", "failed") for task in sandbox.tasks()):
        time.sleep(0.1)
    return sandbox.charges()["count"]


def test_the_next_run_waits_for_what_was_attached(lost, sandbox, s3, capsys):
    """The command writes the id; the task then stores that video, and one generation is charged."""
    assert settle.main(["attach", RECEIPT, the_id(sandbox), "--by", "ada"]) == 0
    told = capsys.readouterr().out
    assert the_id(sandbox) in told
    assert "pays nothing more" in told
    result = make(2)
    assert result["veo_task_id"] == the_id(sandbox)
    assert charges(sandbox) == 1
    steps = [(step["state"], step["by"]) for step in lost.read().receipt.history]
    assert steps[:3] == [
        ("claimed", "clips / monday / make try 1"),
        ("unknown", "clips / monday / make try 1"),
        ("submitted", "a person (ada)"),
    ]


def test_the_next_run_submits_what_never_happened(lost, sandbox, capsys):
    """The person is told of the risk; in the worst case, here, one more is charged, and no third."""
    assert settle.main(["never-happened", VIDEO, "--yes"]) == 0
    assert "paid for twice: $0.30 more, at your risk" in capsys.readouterr().out
    make(2)
    make(3)
    assert charges(sandbox) == 2


def test_what_truly_never_happened_is_charged_once(sandbox, s3, monkeypatch):
    """A worker dies with its claim before it sends anything: settled, the task makes its one video."""
    sandbox.add_faults(LOSE)
    with pytest.raises(AirflowFailException):
        make()
    sandbox.reset()
    sandbox.clear_faults()
    assert settle.main(["never-happened", VIDEO, "--yes"]) == 0
    make(2)
    assert charges(sandbox) == 1


@pytest.mark.parametrize("answer", ["no\n", "\n"])
def test_the_risk_must_be_taken(lost, monkeypatch, capsys, answer):
    """Without a yes, nothing is written."""
    before = lost.read()
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert settle.main(["never-happened", VIDEO]) == 1
    assert "not taken" in capsys.readouterr().err
    assert lost.read() == before


def test_a_yes_takes_the_risk(lost, monkeypatch):
    """The answer is read from the terminal."""
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert settle.main(["never-happened", VIDEO]) == 0
    assert lost.read().receipt.state is ReceiptState.REFUSED


def refused(arguments, capsys):
    """Return why the command wrote nothing."""
    assert settle.main(arguments) == 1
    said = capsys.readouterr().err
    assert "The receipt is unchanged, and nothing was spent." in said
    return said


def test_an_id_that_the_service_does_not_know_is_refused(lost, capsys):
    """The look-up comes first: a mistyped id is not written."""
    before = lost.read()
    assert "does not know task_nothere" in refused(["attach", RECEIPT, "task_nothere"], capsys)
    assert lost.read() == before


def test_the_id_of_another_receipt_is_refused(lost, sandbox, capsys):
    """Another video of the same folder has that generation: it is not stored twice."""
    other = make(output="s3://videos/settled/two.mp4")
    said = refused(["attach", RECEIPT, other["veo_task_id"]], capsys)
    assert "is the generation of s3://videos/settled/two.mp4.veo.json" in said


def test_another_folder_is_looked_at_if_it_is_named(lost, sandbox, capsys):
    """A batch's outputs may be in several folders, so the place can be widened."""
    other = make(output="s3://videos/elsewhere/two.mp4")
    wide = ["attach", RECEIPT, other["veo_task_id"], "--folder", "s3://videos/"]
    assert "elsewhere/two.mp4.veo.json" in refused(wide, capsys)


def test_an_older_generation_is_refused(client, request_4s, lost, s3, sandbox, capsys):
    """A generation from before the claim cannot be the lost one."""
    found = lost.read()
    later = [{**step, "at": "2099-01-01T00:00:00+00:00"} for step in found.receipt.history]
    body = {**json.loads(found.receipt.to_json()), "history": later}
    s3.put_object(Bucket="videos", Key="settled/one.mp4.veo.json", Body=json.dumps(body).encode())
    assert "older than the submission" in refused(["attach", RECEIPT, the_id(sandbox)], capsys)


@pytest.mark.parametrize("command", ["attach", "never-happened"])
def test_what_is_stored_is_not_settled(command, sandbox, capsys):
    """A finished video is left alone by both commands."""
    made = make()
    arguments = {"attach": [made["veo_task_id"]], "never-happened": ["--yes"]}[command]
    assert "is stored" in refused([command, RECEIPT, *arguments], capsys)


def test_a_receipt_that_does_not_exist_is_not_settled(capsys):
    """A mistyped URI creates nothing."""
    assert "There is no receipt" in refused(["never-happened", "s3://videos/no.mp4", "--yes"], capsys)


def test_only_the_task_that_submitted_settles(lost, capsys):
    """A page that shows one task cannot settle another one's receipt."""
    other = ["never-happened", RECEIPT, "--yes", "--claimant", "clips / tuesday / make"]
    assert "is of the task instance clips / monday / make" in refused(other, capsys)
    own = [*other[:-1], "clips / monday / make"]
    assert settle.main(own) == 0


def test_only_the_version_that_was_seen_is_settled(lost, sandbox, capsys):
    """Two people look at one receipt: the second one's decision is refused, as it is of an old version."""
    seen = lost.read().etag
    assert settle.main(["attach", RECEIPT, the_id(sandbox), "--etag", seen]) == 0
    assert "changed in the meantime" in refused(["never-happened", RECEIPT, "--yes", "--etag", seen], capsys)


def test_a_receipt_that_changes_meanwhile_is_not_overwritten(lost, sandbox, client):
    """An attempt writes between the look-up and the write: the condition of the write refuses it."""
    seen = settlement.open_receipt(lost)
    written = lost.write(
        seen.receipt.transition(ReceiptState.UNKNOWN, Attempt("clips / monday / make")), seen
    )
    for change in (
        lambda: settlement.attach(lost, client, seen, the_id(sandbox), ADA, veo_conn_id="veo_default"),
        lambda: settlement.never_happened(lost, client, seen, ADA, veo_conn_id="veo_default"),
    ):
        with pytest.raises(VeoSettlementError, match="changed in the meantime"):
            change()
    assert lost.read() == written


def test_an_outage_of_the_service_settles_nothing(lost, sandbox, capsys):
    """If the id cannot be looked up, it is not written."""
    before, veo_task_id = lost.read(), the_id(sandbox)
    sandbox.add_faults([{"call": "poll", "status": 503}])
    assert settle.main(["attach", RECEIPT, veo_task_id]) == 1
    assert "Retrying is safe" in capsys.readouterr().err
    assert lost.read() == before


def test_an_id_of_a_broken_response_is_not_declared_never(lost, sandbox, client, capsys):
    """The lost response has named a generation, and the service knows it: it did happen."""
    seen = lost.read()
    lost.write(
        seen.receipt.transition(
            ReceiptState.UNKNOWN, Attempt("clips / monday / make"), candidate_task_id=the_id(sandbox)
        ),
        seen,
    )
    assert "there is such a generation" in refused(["never-happened", RECEIPT, "--yes"], capsys)


def test_another_connection_is_refused(lost, backup, sandbox, capsys):
    """The id is looked up where the video was submitted, and nowhere else."""
    wrong = ["attach", RECEIPT, the_id(sandbox), "--veo-conn-id", "backup"]
    assert "Use that connection" in refused(wrong, capsys)


def test_a_batch_counts_what_was_settled(sandbox, s3):
    """One of its videos was lost: attached, the next try stores it, and the summary has its price."""
    sandbox.add_faults(LOSE)

    def run(try_number):
        task = VeoBatchOperator(
            task_id="make",
            images=["s3://images/rocket.jpg"],
            prompt="The rocket lifts off",
            seconds="4",
            output_prefix="s3://videos/settled/",
            deferrable=False,
            poll_interval=0.1,
        )
        instance = Instance(try_number)
        instance.xcom_push = lambda **_: None
        return task.execute({"ti": instance})

    with pytest.raises(Exception, match="1 unknown"):
        run(1)
    sandbox.clear_faults()
    (receipt,) = [
        found["Key"]
        for found in s3.list_objects_v2(Bucket="videos", Prefix="settled/")["Contents"]
        if found["Key"].endswith(".mp4.veo.json")
    ]
    assert settle.main(["attach", f"s3://videos/{receipt}", the_id(sandbox)]) == 0
    result = run(2)
    assert result["counts"] == {"stored": 1}
    assert (result["cost_usd"], result["unknown_usd"]) == (0.3, 0.0)
    assert charges(sandbox) == 1


def test_the_command_runs_by_itself(lost, sandbox):
    """`python -m veo_provider.settle` is a process of its own; the key is in none of its output."""
    command = [sys.executable, "-m", "veo_provider.settle", "attach", RECEIPT, the_id(sandbox)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "is now submitted" in done.stdout
    assert sandbox.api_key not in done.stdout + done.stderr
    assert lost.read().receipt.state is ReceiptState.SUBMITTED


def test_airflows_own_command_line_has_it(lost, sandbox):
    """Since Airflow 3.2, `airflow veo attach` does the same."""
    from airflow import __version__

    if tuple(int(part) for part in __version__.split(".")[:2]) < (3, 2):
        pytest.skip("Providers have commands since Airflow 3.2.")
    command = [sys.executable, "-m", "airflow", "veo", "attach", RECEIPT, the_id(sandbox)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "is now submitted" in done.stdout


def test_a_look_up_leaves_its_candidates_in_the_receipt(lost, sandbox):
    """A person chooses among them: each with its id, its time and the gateway's word for its state."""
    entry = Entry(id=the_id(sandbox), submitted_at=1.0, status="SUCCESS")
    with pytest.raises(VeoUnknownReceiptError, match=f"It may be {entry.id}"):
        look_up.settle(lost, lost.read(), Open("Two fit.", (entry,)), Attempt("a look-up"), may_resubmit=True)
    (told,) = lost.read().receipt.candidates
    assert told == {"veo_task_id": entry.id, "submitted_at": 1.0, "status": "SUCCESS"}
