"""
How long it takes to bring a video of 64 MiB from the service into S3.

Service and S3 are the sandbox's, on this machine. Every contestant runs in a process of its own, with its
modules imported and its clients made and used once before the clock starts; ``curl | aws`` is timed as a
whole, start-up included, because that is how it is used.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from benchmarks.figures import Figure, Series, show
from veo_provider.sandbox.process import Sandbox

ROUNDS = 7
MIB = 1024 * 1024
SIZE = 64 * MIB
BUCKET, KEY = "videos", "clip.mp4"
PHOTO = Path(__file__).parents[1] / "veo_provider" / "sandbox" / "photos" / "rocket.jpg"

OURS = "veo_provider.generation.storage"
FILEOBJ = "boto3 upload_fileobj(response.raw)"
CONTENT = "HttpToS3Operator"
PIPE = "curl | aws s3 cp -"

Store = Callable[[], object]


class Stage:
    """A sandbox with one completed video, which it can make any number of bytes long."""

    def __init__(self, sandbox: Sandbox) -> None:
        from veo_provider.api.client import VeoClient
        from veo_provider.api.image import Image
        from veo_provider.api.request import VeoRequest

        self._sandbox = sandbox
        with VeoClient(sandbox.api_key, sandbox.api) as client:
            request = VeoRequest(prompt="The rocket lifts off", image=Image.from_path(PHOTO), seconds="4")
            self._veo_task_id = client.submit(request).id
            while not client.get(self._veo_task_id).finished:
                time.sleep(0.1)

    def pad(self, size: int) -> None:
        """Make the video longer by so many bytes."""
        self._sandbox.clear_faults()
        self._sandbox.add_faults([{"call": "content", "pad": size}])

    def environment(self) -> dict[str, str]:
        """Give what a contestant's process needs to know, as boto3, Airflow and the AWS CLI read it."""
        sandbox = self._sandbox
        return {
            **os.environ,
            "VEO_API": sandbox.api,
            "VEO_API_KEY": sandbox.api_key,
            "VEO_TASK_ID": self._veo_task_id,
            "AWS_ENDPOINT_URL": sandbox.s3 or "",
            "AWS_ACCESS_KEY_ID": sandbox.aws_access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": sandbox.aws_secret_access_key or "",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": sandbox.api}),
        }


@contextmanager
def stage() -> Iterator[Stage]:
    """Run a sandbox for one round, whose data go with it."""
    with Sandbox(latency=0.1) as sandbox:
        yield Stage(sandbox)


def _content_url(environ: Mapping[str, str] = os.environ) -> str:
    return f"{environ['VEO_API']}/videos/{environ['VEO_TASK_ID']}/content"


def _key_header(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {"Authorization": f"Bearer {environ['VEO_API_KEY']}"}


def _ours() -> Store:
    """Everything that the operators do: streamed, inspected, with checksums."""
    import boto3

    from veo_provider.api.client import VeoClient
    from veo_provider.generation import storage
    from veo_provider.s3.multipart_upload import MultipartUpload
    from veo_provider.s3.uri import S3Uri

    client = VeoClient(os.environ["VEO_API_KEY"], os.environ["VEO_API"])
    s3, target, veo_task_id = boto3.client("s3"), S3Uri(BUCKET, KEY), os.environ["VEO_TASK_ID"]

    def store() -> None:
        upload = MultipartUpload(s3, target, content_type="video/mp4", metadata={"veo_task_id": veo_task_id})
        storage.transfer_video(client, veo_task_id, str(target), upload)

    return store


def _fileobj() -> Store:
    import boto3
    import requests

    session, s3 = requests.Session(), boto3.client("s3")

    def store() -> None:
        with session.get(_content_url(), headers=_key_header(), stream=True, timeout=60) as response:
            response.raise_for_status()
            raw = cast("IO[bytes]", response.raw)
            s3.upload_fileobj(raw, BUCKET, KEY, ExtraArgs={"ContentType": "video/mp4"})

    return store


def _content() -> Store:
    home = tempfile.TemporaryDirectory(prefix="veo-benchmark-")
    os.environ["AIRFLOW_HOME"] = home.name
    from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator

    operator = HttpToS3Operator(
        task_id="store",
        method="GET",
        endpoint=f"/videos/{os.environ['VEO_TASK_ID']}/content",
        headers=_key_header(),
        s3_bucket=BUCKET,
        s3_key=KEY,
        replace=True,
        aws_conn_id=None,
    )

    def store() -> None:
        operator.execute({})

    atexit.register(home.cleanup)

    return store


CONTESTANTS = {OURS: _ours, FILEOBJ: _fileobj, CONTENT: _content}


def ready(who: str) -> Store:
    """Give a contestant that has stored a small video already, and so has imported and opened everything."""
    store = CONTESTANTS[who]()
    store()
    return store


def _seconds(store: Store) -> float:
    begin = time.perf_counter()
    store()
    return time.perf_counter() - begin


def _pipe_seconds(environment: Mapping[str, str]) -> float:
    key = f"Authorization: {_key_header(environment)['Authorization']}"
    command = 'curl -sSf -H "$1" "$2" | aws s3 cp - "$3" --content-type video/mp4'
    arguments = ["bash", "-o", "pipefail", "-c", command, "-"]
    arguments += [key, _content_url(environment), f"s3://{BUCKET}/{KEY}"]
    return _seconds(lambda: subprocess.run(arguments, env=dict(environment), check=True))


def in_process(module: str, who: str, stage: Stage, size: int) -> float:
    """
    Run a contestant in a fresh process, and give the number that it prints last.

    :param module: run with ``python -m``; it gets the contestant's name, and waits for a line on its standard
        input when it is ready for the large video.
    :param size: bytes that the video is made longer by, once it is.
    """
    stage.pad(16)
    command = [sys.executable, "-m", module, who]
    with subprocess.Popen(
        command, env=stage.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            if line.startswith("ready"):
                break
        stage.pad(size)
        output, _ = process.communicate("go\n")
    if process.returncode:
        raise RuntimeError(f"{who} ended with code {process.returncode}")
    return float(output.split()[-1])


def wait_for_go() -> None:
    """Tell the parent that all is ready, and wait for its word."""
    print("\nready", flush=True)
    sys.stdin.readline()


def _turned(names: list[str], by: int) -> list[str]:
    """Give each round another first contestant."""
    by %= len(names)
    return names[by:] + names[:by]


def measure() -> list[Figure]:
    """Store the video with each contestant in turn."""
    seconds: dict[str, list[float]] = {who: [] for who in (*CONTESTANTS, PIPE)}
    for number in range(ROUNDS):
        with stage() as each:
            # S3's first large object is slow, and the others of a round must not gain by the first one.
            in_process("benchmarks.storing", FILEOBJ, each, SIZE)
            for who in _turned(list(CONTESTANTS), number):
                seconds[who].append(in_process("benchmarks.storing", who, each, SIZE))
            if shutil.which("curl") and shutil.which("aws"):
                seconds[PIPE].append(_pipe_seconds(each.environment()))
    series = tuple(Series(who, tuple(values)) for who, values in seconds.items())
    fastest = min((each for each in series if each.who != OURS and each.values), key=lambda each: each.median)
    return [
        Figure(
            name="storing-64-mib",
            title="time to store a video of 64 MiB",
            unit="s",
            ours=OURS,
            against=fastest.who,
            goal=1.1,
            series=series,
            note="Start-up, imports and the first connections are not timed, except those of curl and aws.",
        )
    ]


if __name__ == "__main__":
    if sys.argv[1:]:
        contestant = ready(sys.argv[1])
        wait_for_go()
        print(_seconds(contestant))
    else:
        show(measure())
