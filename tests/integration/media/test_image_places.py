"""Where an image may be: the forms of a path, and whose error it is when a store does not give it."""

import shutil
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    ObjectStoragePath,
)
from fsspec.implementations.local import LocalFileSystem

try:
    from airflow.sdk.io import fs as filesystems
    from airflow.sdk.io import store as stores
except ImportError:  # Airflow 2
    from airflow import io as filesystems
    from airflow.io import store as stores

from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError
from veo_provider.media.image_source import open_image
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

pytestmark = pytest.mark.usefixtures("connections")


class StoreError(Exception):
    """What the library of a store raises."""

    def __init__(self, **said):
        super().__init__(f"the store said {said}")
        vars(self).update(said)


@pytest.fixture
def store(monkeypatch):
    """A file system of Airflow's, for the scheme of another provider, and what it raises."""
    raises = []

    class Store(LocalFileSystem):
        protocol = ("gs",)
        cachable = False

        def _open(self, path, *args, **kwargs):
            raise raises[-1]

    def connected(conn_id, storage_options=None):
        BaseHook.get_connection(conn_id)
        return Store()

    monkeypatch.setitem(filesystems._BUILTIN_SCHEME_TO_FS, "gs", connected)
    filesystems._register_filesystems.cache_clear()
    monkeypatch.setattr(stores, "_STORE_CACHE", {})
    yield raises
    filesystems._register_filesystems.cache_clear()


@pytest.mark.parametrize("uri", ["gs://nowhere@images/a.jpg", "s3://nowhere@images/rocket.jpg"])
def test_a_connection_in_a_uri_that_does_not_exist_is_final(store, uri):
    """A retry does not make a connection, and no other one is taken for it."""
    with pytest.raises(VeoImageError, match="nowhere"):
        open_image(uri, "aws_default")


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("not yours"),
        OSError("Forbidden: images/a.jpg\nno storage.objects.get"),
        StoreError(status=403),
        StoreError(status_code=401),
        StoreError(code=404),
        AirflowNotFoundException("The conn_id isn't defined"),
    ],
)
def test_missing_rights_are_final(store, monkeypatch, error):
    """However the library of a store says it."""
    monkeypatch.setenv("AIRFLOW_CONN_MY_STORE", "generic://")
    store.append(error)
    with pytest.raises(VeoImageError, match="cannot be read"):
        open_image("gs://my_store@images/a.jpg", None)


@pytest.mark.parametrize(
    "error",
    [
        StoreError(status=503),
        StoreError(code=429),
        StoreError(code="closed"),
        TimeoutError(),
        RuntimeError("pool"),
    ],
)
def test_whatever_else_a_store_raises_may_pass(store, monkeypatch, error):
    """It is one of our errors, and leaves the task to its retries."""
    monkeypatch.setenv("AIRFLOW_CONN_MY_STORE", "generic://")
    store.append(error)
    with pytest.raises(VeoImageUnavailableError, match="cannot be reached"):
        open_image("gs://my_store@images/a.jpg", None)


def test_a_connection_in_an_image_of_s3_is_used(sandbox, monkeypatch):
    """The image's bucket belongs to another account than the default connection's."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHERS", sandbox.aws_conn())
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://wrong:wrong@/?region_name=us-east-1")
    assert open_image("s3://others@images/rocket.jpg", "aws_default").content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("operator", "fields"),
    [
        (VeoImageToVideoOperator, {"output": "s3://others@videos/a.mp4"}),
        (VeoImageToVideoOperator, {"output": ObjectStoragePath("s3://videos/a.mp4", conn_id="others")}),
        (VeoSubmitOperator, {"receipt": "s3://others@videos/a.json"}),
        (VeoBatchOperator, {"output_prefix": "s3://others@videos/"}),
        (VeoBatchOperator, {"images": "s3://others@images/", "output_prefix": "s3://videos/"}),
        (VeoBatchOperator, {"images": "s3://others@images/*.jpg", "output_prefix": "s3://videos/"}),
        (VeoToS3Operator, {"s3_key": "s3://others@videos/a.mp4"}),
    ],
)
def test_a_connection_in_an_output_is_refused_at_once(sandbox, monkeypatch, operator, fields):
    """It would be written by another connection: nothing is sent, and the error says what to set."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHERS", sandbox.aws_conn())
    rest = {
        VeoToS3Operator: {"veo_task_id": "task_1"},
        VeoBatchOperator: {"images": "s3://images/", "prompt": "p"},
    }.get(operator, {"image": "s3://images/rocket.jpg", "prompt": "p"})

    class TaskInstance:
        dag_id, run_id, task_id, map_index, try_number, max_tries = "d", "r", "t", -1, 1, 0

        def xcom_push(self, *, key, value):
            pass

    with pytest.raises(AirflowFailException, match="aws_conn_id='others'"):
        operator(task_id="t", **{**rest, **fields}).execute({"ti": TaskInstance()})
    assert sandbox.tasks() == []


@pytest.mark.parametrize("form", [str, Path, lambda path: ObjectStoragePath(f"file://{path}")])
def test_an_image_may_be_a_path_object(sandbox, photo, tmp_path, form):
    """What Python and Airflow have for paths is as good as a text."""
    place = tmp_path / "a photo.jpg"
    shutil.copy(photo, place)
    submit = VeoSubmitOperator(task_id="t", image=form(place), prompt="p", seconds="4")
    assert submit.execute({}) == sandbox.tasks()[0]["task_id"]


@pytest.mark.parametrize(
    "image", [None, "", "None", " ", float("nan"), [], ["a.jpg"], 7, True, {"uri": "a.jpg"}, b"a.jpg"]
)
@pytest.mark.parametrize("operator", [VeoSubmitOperator, VeoImageToVideoOperator])
def test_what_is_no_image_is_refused_before_money_moves(sandbox, image, operator):
    """An upstream task that found none, or several, is told by name."""
    more = {"output": "s3://videos/none.mp4"} if operator is VeoImageToVideoOperator else {}
    with pytest.raises(
        AirflowFailException,
        match=r"^image.* must be .*; got .*(which is empty|a value of type).*Nothing was sent",
    ):
        operator(task_id="t", image=image, prompt="p", **more).execute({})
    assert sandbox.tasks() == []
