"""The command and the child process: ready line, options, keys, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from support.moments import PATIENCE, until
from support.sandbox_api import PHOTOS, Api

from veo_provider.sandbox.process import Sandbox, SandboxError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COMMAND = (sys.executable, "-m", "veo_provider.sandbox")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def s3_client(sandbox: Sandbox) -> S3Client:
    """A client of its S3, made from the Airflow connection that it offers."""
    connection = json.loads(sandbox.aws_conn())
    assert connection["conn_type"] == "aws"
    return boto3.client(
        "s3",
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        **connection["extra"],
    )


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is not merely waiting to be counted."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_end(*pids: int) -> None:
    """Wait until none of them runs."""
    until(lambda: not any(is_alive(pid) for pid in pids))


def start(*options: str, **environment: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Run the command and read its ready line."""
    process = subprocess.Popen(
        [*COMMAND, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@LINUX
def test_s3_is_a_real_server_with_buckets_and_photographs(tmp_path: Path) -> None:
    """It runs beside the API, its objects outlive it in ``--data``, and it ends with the sandbox."""
    with Sandbox(data=tmp_path) as sandbox:
        client = s3_client(sandbox)
        assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"images", "videos"}
        names = {item["Key"] for item in client.list_objects_v2(Bucket="images")["Contents"]}
        assert names == {"rocket.jpg", "chelsea.png", "hubble_portrait.webp"}
        photo = client.get_object(Bucket="images", Key="rocket.jpg")
        assert photo["ContentType"] == "image/jpeg"
        assert photo["Body"].read() == (PHOTOS / "rocket.jpg").read_bytes()
        client.put_object(Bucket="videos", Key="clip.mp4", Body=b"clip")
        key, processes = sandbox.api_key, [sandbox.pid, *children(sandbox.pid)]
        assert len(processes) == 2
    wait_for_end(*processes)
    with Sandbox(data=tmp_path) as sandbox:
        assert sandbox.api_key == key
        assert s3_client(sandbox).get_object(Bucket="videos", Key="clip.mp4")["Body"].read() == b"clip"
        processes = [sandbox.pid, *children(sandbox.pid)]
        os.kill(sandbox.pid, signal.SIGKILL)
        wait_for_end(*processes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """One JSON line when it is ready, exit code 0, and no temporary files left."""
    process, ready = start("--no-s3", TMPDIR=str(tmp_path))
    with process:
        assert ready.keys() == {
            "api", "s3", "api_key", "account_token", "aws_access_key_id", "aws_secret_access_key"
        }  # fmt: skip
        assert ready["api"].startswith("http://127.0.0.1:")
        assert ready["api"].endswith("/v1")
        assert ready["s3"] is ready["aws_access_key_id"] is ready["aws_secret_access_key"] is None
        assert list(tmp_path.iterdir()) != []
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@LINUX
def test_a_signal_while_s3_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C need not wait for the ready line."""
    command = [*COMMAND, "--data", str(tmp_path)]

    def servers():
        found = children(process.pid)
        return [pid for pid in found if b"weed" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        # Before that, the child is a copy of the sandbox itself, which is about to become the server.
        started = until(lambda: process.poll() is not None or servers())
        assert started is not True
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == 0
    wait_for_end(*started)


SIGNAL_AT_FORK = """
import os, signal, sys, time
from veo_provider.sandbox.__main__ import main

sandbox = os.getpid()

def interrupt():
    os.kill(sandbox, signal.Signals[sys.argv[1]])
    if os.getpid() != sandbox:
        print(os.getpid(), flush=True)
        time.sleep(0.5)

os.register_at_fork(**{sys.argv[2]: interrupt})
sys.exit(main([]))
"""


@LINUX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("where", ["before", "after_in_parent", "after_in_child"])
def test_a_signal_during_the_fork_of_s3_is_obeyed(name: str, where: str, tmp_path: Path) -> None:
    """The sandbox ends in order, however it was interrupted, and its S3 server does not outlive it."""
    ended = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_FORK, name, where],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0
    wait_for_end(*map(int, ended.stdout.split()))
    assert list(tmp_path.iterdir()) == []


SIGNAL_IN_DESTRUCTOR = """
import os, signal, sys
from veo_provider.sandbox import __main__

class Interrupt:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

start = __main__.Service
def service(settings):
    Interrupt()
    return start(settings)

__main__.Service = service
sys.exit(__main__.main(["--no-s3"]))
"""


def test_a_signal_in_a_destructor_is_obeyed(tmp_path: Path) -> None:
    """Python drops what a signal handler raises there; the sandbox ends all the same."""
    ended = subprocess.run(
        [sys.executable, "-c", SIGNAL_IN_DESTRUCTOR],
        capture_output=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "KeyboardInterrupt" in ended.stderr
    assert (ended.returncode, ended.stdout) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_video_in_the_making_does_not_hold_up_the_end() -> None:
    """The studio stops at the next frame."""
    with Sandbox(s3=False) as sandbox:
        Api(sandbox).submitted(seconds="8", resolution="4k")
        process = sandbox.pid
    wait_for_end(process)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A test run that is killed leaves no sandbox behind."""
    code = (
        "import time; from veo_provider.sandbox.process import Sandbox\n"
        "with Sandbox(s3=False) as sandbox: print(sandbox.pid, flush=True); time.sleep(600)"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for_end(pid)


@pytest.mark.parametrize(
    ("options", "environment", "key"),
    [
        (["--api-key", "sk-mine"], {"VEO_SANDBOX_API_KEY": "sk-other"}, "sk-mine"),
        ([], {"VEO_SANDBOX_API_KEY": "sk-other"}, "sk-other"),
    ],
)
def test_the_key_can_be_chosen(options: list[str], environment: dict[str, str], key: str) -> None:
    """By option or by environment."""
    process, ready = start("--no-s3", *options, **environment)
    with process:
        process.terminate()
    assert ready["api_key"] == key


def test_keys_are_random(sandbox: Sandbox) -> None:
    """They look like the service's and are not those of another sandbox."""
    with Sandbox(s3=False) as other:
        assert other.api_key.startswith("sk-")
        assert other.api_key != sandbox.api_key
        assert other.account_token != sandbox.account_token


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ('[{"call": "submit", "statsu": 500}]', "rule 1: unknown key `statsu`"),
        ('[{"call": "upload", "status": 500}]', "rule 1: `call` is one of"),
        ("nothing", "is not JSON"),
    ],
)
def test_a_wrong_fault_file_is_an_error(tmp_path: Path, rules: str, says: str) -> None:
    """It says what is wrong, and does not start."""
    path = tmp_path / "faults.json"
    path.write_text(rules)
    done = subprocess.run(
        [*COMMAND, "--no-s3", "--faults", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--latency", "-1"],
        ["--s3-port", "60000"],
        ["--faults", "nowhere.json"],
        ["--port", "x"],
        ["--latency-sigma", "-1"],
        ["--film", "long"],
    ],
)
def test_a_wrong_option_is_an_error(options: list[str]) -> None:
    """Exit code 2 and a message."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 2
    assert options[0] in done.stderr


def test_the_rules_of_the_start_come_back_with_a_reset(data: Path) -> None:
    """Rules that were added later do not."""
    with Sandbox(s3=False, data=data, faults=[{"call": "submit", "first": 1, "status": 429}]) as sandbox:
        api = Api(sandbox)
        assert [api.form().status_code for _ in range(2)] == [429, 200]
        sandbox.add_faults([{"call": "submit", "status": 500}])
        assert api.form().status_code == 500
        sandbox.reset()
        assert [api.form().status_code for _ in range(2)] == [429, 200]


def test_a_sandbox_that_cannot_start_says_why() -> None:
    """The error has what the process said."""
    with pytest.raises(SandboxError, match="unknown key `statsu`"):
        Sandbox(s3=False, faults=[{"call": "submit", "statsu": 500}]).__enter__()


def test_a_taken_port_is_an_error(sandbox: Sandbox) -> None:
    """Another server is there already."""
    port = int(sandbox.api.split(":")[2].partition("/")[0])
    with pytest.raises(SandboxError, match="the sandbox cannot start"):
        Sandbox(s3=False, port=port).__enter__()


def test_connections_for_airflow(sandbox: Sandbox) -> None:
    """As JSON, ready for the environment, with the models that it still serves; without S3 none to S3."""
    connection = json.loads(sandbox.veo_conn())
    models = connection["extra"].pop("models")
    assert connection == {
        "conn_type": "veo",
        "host": sandbox.api,
        "password": sandbox.api_key,
        "extra": {"account_token": sandbox.account_token},
    }
    assert models["veo-3.1-fast-generate-preview"] == {"ends": None}
    with pytest.raises(SandboxError, match="without S3"):
        sandbox.aws_conn()


def test_the_log_says_what_was_called_and_keeps_the_key(api: Api) -> None:
    """Enough to follow what happened, and no secrets."""
    api.form()
    requests.get(f"{api.sandbox.api}/nothing", timeout=60)
    # A call is logged after its answer.
    for line in ('"POST /v1/videos HTTP/1.1" 200', '"GET /v1/nothing HTTP/1.1" 404'):
        until(lambda line=line: line in api.sandbox.log)
    assert api.sandbox.api_key not in api.sandbox.log
