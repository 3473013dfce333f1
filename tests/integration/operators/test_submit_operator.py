"""VeoSubmitOperator against the sandbox: what is paid for, what is not, and what it says."""

import logging

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider import exceptions
from veo_provider.generation import retries
from veo_provider.operators.veo import VeoSubmitOperator

pytestmark = pytest.mark.usefixtures("connections")


def submit(**fields):
    fields = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4", **fields}
    return VeoSubmitOperator(task_id="submit", **fields).execute({})


@pytest.mark.parametrize("form", ["s3", "path", "uri"])
def test_an_image_may_be_anywhere(sandbox, photo, form):
    """An image comes from S3 through the hook, or from any path or URI; its id alone is returned."""
    image = {"s3": "s3://images/rocket.jpg", "path": str(photo), "uri": f"file://{photo}"}[form]
    veo_task_id = submit(image=image)
    (task,) = sandbox.tasks()
    assert veo_task_id == task["task_id"]
    assert task["files"][0]["bytes"] == photo.stat().st_size
    assert task["files"][0]["filename"] == "rocket.jpg"


@pytest.mark.parametrize("key", ["with space.jpg", "ünï/çödé.jpg", "100%25/a+b#c?d.jpg", "space behind.jpg "])
def test_any_key_is_found(sandbox, s3, photo, key):
    """Spaces, unicode, percent and hash signs in a key are just characters."""
    s3.put_object(Bucket="images", Key=key, Body=photo.read_bytes())
    submit(image=f"s3://images/{key}")
    assert len(sandbox.tasks()) == 1


def test_a_connection_may_stand_in_the_uri(sandbox, monkeypatch):
    """As ObjectStoragePath has it, s3://connection@bucket/key brings its own connection."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", sandbox.aws_conn())
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    submit(image="s3://other@images/rocket.jpg")
    assert len(sandbox.tasks()) == 1


def test_text_to_video_is_an_explicit_wish(sandbox):
    """Without an image a video is made only if that is what was asked for."""
    submit(image=None, text_to_video=True)
    assert sandbox.tasks()[0]["mode"] == "text-to-video"


def test_every_parameter_reaches_the_service(sandbox):
    """Each parameter is sent, under the name and in the form that the API wants, numbers as text."""
    submit(seconds=8, resolution="1080p", aspect_ratio="9:16", seed="7", negative_prompt="fog")
    fields = sandbox.tasks()[0]["fields"]
    assert {
        name: fields[name] for name in ("seconds", "resolution", "aspectRatio", "seed", "negativePrompt")
    } == {
        "seconds": "8",
        "resolution": "1080p",
        "aspectRatio": "9:16",
        "seed": "7",
        "negativePrompt": "fog",
    }


def test_what_a_template_left_empty_is_not_given(sandbox):
    """A template that renders to nothing means the default."""
    submit(resolution="", aspect_ratio="", size="", seed="", negative_prompt="")
    assert sandbox.tasks()[0]["fields"]["resolution"] == "720p"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image": "s3://images/nowhere.jpg"}, r"nowhere\.jpg cannot be read"),
        ({"image": "s3://nowhere/rocket.jpg"}, "cannot be read"),
        ({"image": "s3://images"}, "s3://bucket/key"),
        ({"image": "/nowhere/rocket.jpg"}, "cannot be read"),
        ({"image": "nope://bucket/key"}, "cannot be read"),
        ({"image": ""}, "is empty"),
        ({"image": None}, "is empty"),
        ({"image": "s3://Bad_Bucket!/rocket.jpg"}, "cannot be read"),
        ({"text_to_video": True}, "contradict"),
        ({"image": "s3://images/text.jpg"}, "not a JPEG, PNG or WebP"),
        ({"image": "s3://images/large.jpg"}, "at most 20 MB"),
        ({"image": "s3://images/empty.jpg"}, "is empty"),
        ({"prompt": " "}, "prompt is empty"),
        ({"seconds": "5"}, r'seconds must be one of "4", "6", "8"; got .5'),
        ({"seconds": "4", "resolution": "4k"}, 'seconds must be "8" for a video in 4k'),
        ({"seed": "x"}, "seed must be an integer; got 'x'"),
        ({"size": "1280x720", "aspect_ratio": "9:16"}, "means"),
    ],
)
def test_bad_input_costs_nothing_and_is_not_retried(sandbox, s3, photo, fields, said):
    """Whatever can be known beforehand is said before anything is sent, and ends the task at once."""
    s3.put_object(Bucket="images", Key="text.jpg", Body=b"no picture at all")
    s3.put_object(Bucket="images", Key="large.jpg", Body=photo.read_bytes() + bytes(20_000_000))
    s3.put_object(Bucket="images", Key="empty.jpg", Body=b"")
    with pytest.raises(AirflowFailException, match=said) as caught:
        submit(**fields)
    assert "nothing was charged" in str(caught.value)
    assert sandbox.tasks() == []


def test_an_unreachable_store_is_worth_a_retry(sandbox, monkeypatch):
    """An image whose store cannot be reached now leaves the task to Airflow's retries."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT",
        "aws://key:secret@/?endpoint_url=http%3A%2F%2F127.0.0.1%3A1&region_name=us-east-1",
    )
    with pytest.raises(exceptions.VeoImageUnavailableError, match="cannot be read"):
        submit()
    assert sandbox.tasks() == []


def test_too_many_requests_are_waited_out(sandbox, impatient):
    """A 429, and a saturated upstream, are tried again: in the end there is one generation."""
    sandbox.add_faults(
        [
            {"call": "submit", "occurrence": 1, "status": 429, "headers": {"Retry-After": "1"}},
            {"call": "submit", "occurrence": 2, "status": 429},
            {
                "call": "submit",
                "occurrence": 3,
                "status": 403,
                "body": {"code": "upstream_load_saturated", "message": "busy", "data": None},
            },
        ]
    )
    submit()
    assert len(sandbox.tasks()) == 1


def test_a_busy_service_is_left_to_airflow_in_the_end(sandbox, impatient, monkeypatch):
    """When the patience of one attempt is over, the error is one that Airflow may retry."""
    monkeypatch.setattr(retries, "SUBMIT_PATIENCE", 0.5)
    sandbox.add_faults([{"call": "submit", "status": 429}])
    with pytest.raises(exceptions.VeoRateLimitError):
        submit()
    assert sandbox.tasks() == []


@pytest.mark.parametrize(
    "fault",
    [{"reset": "after"}, {"status": 504, "accept": True}, {"garbage": True, "accept": True}],
    ids=["reset", "504", "garbage"],
)
def test_a_lost_answer_ends_the_task_without_a_retry(sandbox, fault):
    """A submission of unknown fate is sent once, and the task fails with what to check and what to do."""
    sandbox.add_faults([{"call": "submit", **fault}])
    with pytest.raises(AirflowFailException, match=r"may have been accepted.*api\.apiyi\.com/task"):
        submit()
    assert [rule["matched"] for rule in sandbox.faults()] == [1]
    assert len(sandbox.tasks()) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 401, "body": {"error": {"message": "bad token"}}}, "Pay-per-request"),
        ({"status": 403, "body": {"error": {"code": "insufficient_user_quota"}}}, "account is empty"),
        ({"status": 400, "body": {"error": {"message": "PUBLIC_ERROR_UNSAFE"}}}, "Change the image"),
        ({"status": 413, "body": {"error": {"message": "too large"}}}, "will be refused again"),
    ],
)
def test_a_refusal_that_no_retry_mends_ends_the_task(sandbox, fault, said):
    """A wrong key, an empty account, moderation and bad requests are told, and not tried again."""
    sandbox.add_faults([{"call": "submit", **fault}])
    with pytest.raises(AirflowFailException, match=said):
        submit()
    assert [rule["matched"] for rule in sandbox.faults()] == [1]


def test_the_log_names_id_and_price_but_not_the_key(sandbox, caplog, capsys):
    """The log tells what was bought, before anything else can go wrong."""
    with caplog.at_level(logging.DEBUG):
        veo_task_id = submit()
    log = caplog.text + capsys.readouterr().out
    assert f"Submitted as {veo_task_id}; it costs $0.30" in log
    assert sandbox.api_key not in log


def test_an_unknown_model_is_sent(sandbox, caplog):
    """A model that this release does not know passes with a warning."""
    submit(model="veo-3.1-quick-generate-preview")
    assert "does not know the model" in caplog.text
    assert sandbox.tasks()[0]["model"] == "veo-3.1-quick-generate-preview"
