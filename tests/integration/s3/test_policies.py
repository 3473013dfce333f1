"""The policies of docs/iam.rst, each enforced by a store: whole, and without each of its rights."""

import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from botocore.exceptions import ClientError
from support.batches import Instance
from support.code_blocks import code_blocks
from support.s3_proxy import Proxy, refusal, running

from veo_provider import settle
from veo_provider.exceptions import VeoBatchError, VeoError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sandbox import s3_server
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

PAGE = Path(__file__).parents[3] / "docs" / "iam.rst"
NAMES = ["make", "submit", "store", "batch", "settle", "page"]
POLICIES = {name: json.loads(block.text) for name, block in zip(NAMES, code_blocks(PAGE), strict=True)}
USER = "airflow"
CLIP = "s3://videos/clip.mp4"
RECEIPT = f"{CLIP}.veo.json"
IMAGE = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}


def rights_of(policy):
    """Return each bucket and action of a policy of single resources."""
    return [
        (one["Resource"].rpartition(":")[2].partition("/")[0], action)
        for one in policy["Statement"]
        for action in one["Action"]
    ]


class Store:
    """A store whose user has the rights of a policy, and no other.

    :param server: SeaweedFS, which evaluates the policies.
    """

    def __init__(self, server):
        self._address = {"endpoint_url": server.url, "region_name": s3_server.REGION}
        self.root = self._client("s3", "root", "secret")
        iam = self._client("iam", "root", "secret")
        iam.create_user(UserName=USER)
        made = iam.create_access_key(UserName=USER)["AccessKey"]
        self.keys = made["AccessKeyId"], made["SecretAccessKey"]
        self.rights = []
        self.calls = []

    def _client(self, service, key, secret):
        return boto3.client(service, aws_access_key_id=key, aws_secret_access_key=secret, **self._address)

    def proxy(self):
        """Return a proxy that does what S3 documents and SeaweedFS does not."""
        key, secret = self.keys
        behind = SimpleNamespace(
            s3=self._address["endpoint_url"], aws_access_key_id=key, aws_secret_access_key=secret
        )
        return Proxy(behind, self._refusal)

    def _refusal(self, call):
        aborts = call.method == "DELETE" and "uploadId" in call.query
        if aborts and (call.bucket, "s3:AbortMultipartUpload") not in self.rights:
            return refusal(403, "AccessDenied")
        reads = call.method in ("GET", "HEAD") and call.key
        if (
            reads
            and (call.bucket, "s3:ListBucket") not in self.rights
            and not self.has(call.bucket, call.key)
        ):
            return refusal(403, "AccessDenied")
        return None

    def has(self, bucket, key):
        try:
            self.root.head_object(Bucket=bucket, Key=key)
        except ClientError:
            return False
        return True

    def allow(self, policy, without=None):
        """Give the user these rights only: SeaweedFS takes them as policies of the buckets."""
        self.rights = [right for right in rights_of(policy) if right != without]
        for bucket in s3_server.BUCKETS:
            statements = [
                {**one, "Action": actions, "Principal": {"AWS": [f"arn:aws:iam::000000000000:user/{USER}"]}}
                for one in policy["Statement"]
                if one["Resource"].rpartition(":")[2].partition("/")[0] == bucket
                and (actions := [each for each in one["Action"] if (bucket, each) in self.rights])
            ]
            if statements:
                told = json.dumps({**policy, "Statement": statements})
                self.root.put_bucket_policy(Bucket=bucket, Policy=told)
            else:
                with suppress(ClientError):  # there is none
                    self.root.delete_bucket_policy(Bucket=bucket)

    def empty(self):
        for found in self.root.list_objects_v2(Bucket="videos").get("Contents", []):
            self.root.delete_object(Bucket="videos", Key=found["Key"])
        for one in self.root.list_multipart_uploads(Bucket="videos").get("Uploads", []):
            self.root.abort_multipart_upload(Bucket="videos", Key=one["Key"], UploadId=one["UploadId"])

    def journal(self):
        """Return the keys of a batch's journal."""
        found = self.root.list_objects_v2(Bucket="videos", Prefix="_veo/")["Contents"]
        return [one["Key"] for one in found if one["Key"].rpartition("/")[2][:10].isdigit()]

    def writes(self):
        """Return how often the video was written."""
        return len([call for call in self.calls if call.method == "PUT" and call.key == "clip.mp4"])

    def receipt(self):
        found = self.root.get_object(Bucket="videos", Key="clip.mp4.veo.json")
        return json.loads(found["Body"].read())

    def unfinished(self):
        """Return the keys of the unfinished uploads."""
        return [one["Key"] for one in self.root.list_multipart_uploads(Bucket="videos").get("Uploads", [])]


@pytest.fixture(scope="module")
def _server(tmp_path_factory):
    command = s3_server._command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_server, "_command", lambda data: [*command(data), "-s3.iam.readOnly=false"])
        server = s3_server.S3Server(tmp_path_factory.mktemp("policies") / "s3", "root", "secret")
        try:
            server.start()
            yield Store(server)
        finally:
            server.stop()


@pytest.fixture
def store(_server, sandbox, connections, monkeypatch):
    """The store, with an upload that a killed worker left, and the connection ``aws_default`` to it."""
    _server.empty()
    _server.root.create_multipart_upload(Bucket="videos", Key="clip.mp4")
    key, secret = _server.keys
    with running(_server.proxy()) as proxy:
        _server.calls = proxy.calls
        connection = json.loads(sandbox.aws_conn())
        connection.update(login=key, password=secret)
        connection["extra"]["endpoint_url"] = proxy.url
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        yield _server


def make():
    task = VeoImageToVideoOperator(task_id="make", output=CLIP, deferrable=False, poll_interval=0.1, **IMAGE)
    return task.execute({"ti": Instance()})


def submit():
    return VeoSubmitOperator(task_id="submit", receipt=RECEIPT, **IMAGE).execute({"ti": Instance()})


def download(veo_task_id):
    return VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=CLIP).execute({"ti": Instance()})


def batch():
    task = VeoBatchOperator(
        task_id="make",
        images="s3://images/rocket*",
        prompt="The rocket lifts off",
        seconds="4",
        output_prefix="s3://videos/",
        deferrable=False,
        poll_interval=0.1,
    )
    return task.execute({"ti": Instance()})


def every_right(name):
    return pytest.mark.parametrize(
        "without",
        rights_of(POLICIES[name]),
        ids=[f"{bucket}-{right}" for bucket, right in rights_of(POLICIES[name])],
    )


HOUSEKEEPING = {"s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"}


@pytest.mark.parametrize("name", ["make", "submit", "batch"])
def test_a_policy_suffices(store, sandbox, name):
    """With its policy, an operator pays once and leaves nothing behind."""
    store.allow(POLICIES[name])
    run(name)
    assert len(sandbox.tasks()) == 1
    if name != "submit":
        assert store.has("videos", "clip.mp4" if name == "make" else "rocket.jpg.mp4")
    if name == "make":
        assert store.unfinished() == []
    if name == "batch":
        assert store.journal() == []
        assert store.unfinished() == ["clip.mp4"]


def run(name):
    return {"make": make, "submit": submit, "batch": batch}[name]()


@every_right("make")
def test_a_video_needs_each_right(store, sandbox, caplog, without):
    """Nothing is paid for without a right that the video needs; without the others, an upload stays."""
    store.allow(POLICIES["make"], without)
    if without[1] in HOUSEKEEPING:
        make()
        assert store.unfinished() == ["clip.mp4"]
        assert without[1] in caplog.text
        return
    with pytest.raises(AirflowFailException, match=without[1]):
        make()
    assert sandbox.tasks() == []


@every_right("submit")
def test_a_submission_needs_each_right(store, sandbox, without):
    """Nothing is submitted without one of them, and the error names it."""
    store.allow(POLICIES["submit"], without)
    with pytest.raises(AirflowFailException, match=without[1]):
        submit()
    assert sandbox.tasks() == []


def test_a_download_has_what_it_needs(store, completed):
    """With its policy, the video is stored once, a second run keeps it, and nothing is left behind."""
    store.allow(POLICIES["store"])
    first = download(completed)
    assert download(completed) == first
    assert store.writes() == 1
    assert store.unfinished() == []


@every_right("store")
def test_a_download_needs_each_right(store, completed, caplog, without):
    """Without the right to write it fails; without others it stores again, or an upload stays."""
    store.allow(POLICIES["store"], without)
    if without[1] == "s3:PutObject":
        with pytest.raises(AirflowFailException, match=without[1]):
            download(completed)
        return
    download(completed)
    if without[1] in HOUSEKEEPING:
        assert store.unfinished() == ["clip.mp4"]
        assert without[1] in caplog.text
    else:
        download(completed)
        assert store.writes() == 2


@every_right("batch")
def test_a_batch_needs_each_right(store, sandbox, without):
    """Nothing is paid for without a right that the videos need; without the others, something stays."""
    store.root.create_multipart_upload(Bucket="videos", Key="rocket.jpg.mp4")
    store.allow(POLICIES["batch"], without)
    if without[1] in HOUSEKEEPING:
        batch()
        assert "rocket.jpg.mp4" in store.unfinished()
    elif without[1] == "s3:DeleteObject":
        batch()
        assert store.has("videos", "rocket.jpg.mp4")
        assert store.journal() != []
    else:
        with pytest.raises((AirflowFailException, VeoBatchError)):
            batch()
        assert sandbox.tasks() == []


@pytest.fixture
def lost(store, sandbox):
    """The id of a generation whose response was lost, as its receipt records."""
    store.allow(POLICIES["make"])
    sandbox.add_faults([{"call": "submit", "first": 1, "reset": "after"}])
    with pytest.raises(AirflowFailException, match="may have been accepted"):
        make()
    sandbox.clear_faults()
    (task,) = sandbox.tasks()
    return task["task_id"]


def test_the_command_has_what_it_needs(store, lost):
    """With its policy, the id is attached."""
    store.allow(POLICIES["settle"])
    assert settle.main(["attach", CLIP, lost]) == 0
    assert store.receipt()["state"] == "submitted"


@every_right("settle")
def test_the_command_needs_each_right(store, lost, capsys, without):
    """Without one of them, it names it, and the receipt is unchanged."""
    store.allow(POLICIES["settle"], without)
    assert settle.main(["attach", CLIP, lost]) == 1
    assert without[1] in capsys.readouterr().err
    assert store.receipt()["state"] == "unknown"


@pytest.fixture
def page(store):
    """What reads S3 for the page in Airflow's UI; a video is there."""
    pytest.importorskip("fastapi", reason="There is no page before Airflow 3.")
    from veo_provider.ui import media

    store.allow(POLICIES["make"])
    make()
    for cached in (media._client, media._found):
        cached.cache_clear()
    yield media
    for cached in (media._client, media._found):
        cached.cache_clear()


def shown(page, what):
    target, dag_ids = page._found(what, RECEIPT, "policies", 0)
    assert dag_ids
    return page.get(target, "There is none.")["Body"].read(4)


def test_the_page_has_what_it_needs(store, page):
    """With its policy, it shows a video and its image."""
    store.allow(POLICIES["page"])
    assert [len(shown(page, what)) for what in ("video", "image")] == [4, 4]


@every_right("page")
def test_the_page_needs_each_right(store, page, without):
    """Without the right to read images it shows no image, and without that to read videos nothing."""
    store.allow(POLICIES["page"], without)
    for what in ("video", "image"):
        if without[0] == "images" and what == "video":
            assert len(shown(page, what)) == 4
        else:
            with pytest.raises((VeoError, page.HTTPException)):
                shown(page, what)
