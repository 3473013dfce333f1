"""An archive of 240 awkward files: each gets what is right for it, none stops the run or costs in vain."""

import asyncio
import hashlib
import io
import itertools
import json
from collections import Counter
from dataclasses import replace

import PIL.Image
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from support.archive import listed
from support.buckets import s3_client_of
from support.media import blank_images, drawing, foreign_files, images

from veo_provider.media import conversion, rendering
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.sandbox.process import Sandbox
from veo_provider.triggers import batch as trigger_module
from veo_provider.triggers.batch import VeoBatchTrigger

pytestmark = pytest.mark.slow

COUNT = 240
PREFIX = "awkward/"
CONVERT = {"convert": True, "aspect_ratio": "auto"}
NAMES = [
    " begins with a space.jpg",
    "number #1.jpg",
    "what?.jpg",
    "what?#1&x=y;z+1.jpg",
    "a+b c.jpg",
    "100%25 %s %2F.jpg",
    "line\nbreak.jpg",
    "carriage\r\nreturn.jpg",
    "tab\t and bell\x07.jpg",
    "[x] {y} *.jpg",
    "quote'\"`$HOME ${HOME} {{ ds }}.jpg",
    "deep/er/100% of it/cat.jpg",
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",
    "\u202egpj.tac.jpg",
    "\u2028line.jpg",
    f"{'long' * 50}.jpg",
]
TOO_LONG = f"{'z' * 250}.jpg"
ENDS_WITH_SPACE = "space behind.jpg "

STARTS_LIKE_AN_IMAGE = {"JPEG of 12 bits", "JPEG-LS", "JPEG-LS named .jpg", "lossless JPEG", "PNG for iOS"}
NO_FORMAT, SERVICE = "not a JPEG, PNG or WebP", "not a picture that can be decoded"
REFUSED_AS_THEY_ARE = {
    **dict.fromkeys(
        [
            "EXIF in a TIFF",
            "HEIC",
            "turned HEIC",
            "HEIC named .jpg",
            "AVIF",
            "TIFF",
            "TIFF of several pages",
            "TIFF in CMYK",
            "TIFF of numbers",
            "TIFF in Lab",
            "fax",
            "BMP",
            "GIF",
            "animated GIF",
            "cut HEIC",
            "wide gamut HEIC",
            "cut GIF",
            "cut TIFF",
            "text",
            "raw file",
            "upright HEIC",
            "upright GIF",
            "numbers, one is none",
            "numbers, one infinite",
            "numbers, some no data",
            "numbers, all are none",
            "12 bits of 16",
            "empty first frame",
            "half a HEIC",
        ],
        NO_FORMAT,
    ),
    **{
        kind: NO_FORMAT
        for kind, *_ in (*foreign_files.IMAGES, *foreign_files.OTHERS, *foreign_files.READ)
        if kind not in STARTS_LIKE_AN_IMAGE
    },
    **{
        kind: NO_FORMAT
        for kind, name, _ in blank_images.BLANK
        if not name.endswith((".jpg", ".png", ".webp"))
    },
    **dict.fromkeys(["cut BMP", "cut AVIF", "BMP named .jpeg", "turned AVIF"], NO_FORMAT),
    **dict.fromkeys(["25 MB", "25 MB with much after the image"], "at most 20 MB"),
    "zero bytes": "is empty",
    "half a JPEG": "is damaged",
    # What starts like an image is for the service to judge, which charges nothing for that.
    **dict.fromkeys(
        [
            "cut JPEG",
            "cut PNG",
            "cut WebP",
            "JPEG without an image",
            "broken PNG",
            "bomb",
            "PNG with a long text",
            "PNG with long XMP",
            "PNG with a long profile",
            "JPEG that begins twice",
            "panorama without an end",
            "cut panorama",
            *STARTS_LIKE_AN_IMAGE,
        ],
        SERVICE,
    ),
    "a name that is too long": "too long",
    "a name that ends with a space": "ends with white space",
}
"""Why no video is made of which kinds without conversion; all others are taken."""


def _shapes():
    """Images that are upright, or are turned so by their EXIF data: most of the others are lying."""
    lying, upright = drawing.corners(), drawing.corners(48, 64)
    exif = PIL.Image.Exif()
    exif[drawing.ORIENTATION] = 6
    turned = exif.tobytes()
    yield "upright JPEG", "up.jpg", drawing.encoded(upright, "JPEG"), "as it is", ""
    yield "upright HEIC", "up.heic", drawing.encoded(upright, "HEIF"), "converted", "HEIF"
    yield "upright GIF", "up.gif", drawing.encoded(upright, "GIF"), "converted", "GIF"
    yield "turned upright", "turned.jpg", drawing.encoded(lying, "JPEG", exif=turned), "converted", "EXIF"
    yield "turned upright", "turned.webp", drawing.encoded(lying, "WEBP", exif=turned), "converted", "EXIF"


def _files():
    """Yield 240 files: some for their names, some for their shapes, and all kinds in turn."""
    named = dict.fromkeys(NAMES, "name")
    named |= {TOO_LONG: "a name that is too long", ENDS_WITH_SPACE: "a name that ends with a space"}
    for number, (name, kind) in enumerate(named.items()):
        file = replace(images.awkward_file("no extension", number), kind=kind, name=name)
        yield file if kind == "name" else replace(file, outcome="refused", says=REFUSED_AS_THEY_ARE[kind])
    shapes = [images.Awkward(*shape) for shape in _shapes()]
    yield from shapes
    yield from images.awkward_files(COUNT - len(named) - len(shapes))


@pytest.fixture(scope="module")
def service():
    """A sandbox whose videos take no time, connections to it, and no pauses of Airflow's."""
    with Sandbox(latency=0.2, film="small") as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_VEO_DEFAULT", running.veo_conn())
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", running.aws_conn())
        patch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
        yield running


@pytest.fixture(scope="module")
def store(service):
    """boto3's client for its S3."""
    client = s3_client_of(service)
    yield client
    client.close()


@pytest.fixture(scope="module")
def files(store):
    """The files in S3 by their keys; in place of the bytes of each, their digest."""
    put = {}
    for file in _files():
        store.put_object(Bucket="images", Key=PREFIX + file.name, Body=file.data)
        put[PREFIX + file.name] = replace(file, data=hashlib.sha256(file.data).hexdigest())
    assert len(put) == COUNT
    return put


class Made:
    """What a run has come to: its result, its table, what the service has got, and what it charges."""

    def __init__(self, service, store, result):
        bucket, _, key = result["summary_uri"].removeprefix("s3://").partition("/")
        lines = store.get_object(Bucket=bucket, Key=key)["Body"].read().split(b"\n")
        self.counts, self.cost = result["counts"], result["cost_usd"]
        self.rows = [json.loads(line) for line in lines if line]
        self.tasks = {task["prompt"]: task for task in service.tasks()}
        self.charges, self.summary = service.charges(), service.summary()

    def with_outcome(self, outcome):
        return {row["key"] for row in self.rows if row["outcome"] == outcome}


async def _event_of(trigger):
    _, kwargs = trigger.serialize()
    (event,) = [event async for event in VeoBatchTrigger(**json.loads(json.dumps(kwargs))).run()]
    return json.loads(json.dumps(event.payload))


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, task_id, map_index = "awkward", "make", -1

    def __init__(self, run_id, try_number):
        self.run_id, self.try_number = run_id, try_number

    def xcom_push(self, key, value):
        """Take what says where the run keeps its books."""


def run(output_prefix, run_id="monday", try_number=1, **fields):
    """Run the task as Airflow does, to its end; the prompt tells which image a generation is of."""
    fields = {"images": f"s3://images/{PREFIX}", "prompt": "$key", "seconds": "4", **fields}
    fields |= {"output_prefix": output_prefix, "fail_on": "never", "poll_interval": 0.1, "max_in_flight": 20}
    context = {"ti": Instance(run_id, try_number)}
    try:
        return VeoBatchOperator(task_id="make", **fields).execute(context)
    except TaskDeferred as deferral:
        trigger = deferral.trigger
    while True:
        event = asyncio.run(_event_of(trigger))
        try:
            return VeoBatchOperator(task_id="make", **fields).execute_complete(context, event)
        except TaskDeferred as deferral:
            trigger = deferral.trigger


@pytest.fixture(scope="module")
def foretold(service, store, files):
    """A dry run with conversion, before anything is made."""
    return Made(service, store, run("s3://videos/converted/", dry_run=True, **CONVERT))


@pytest.fixture(scope="module")
def converted(service, store, files, foretold):
    """The archive's videos, with conversion and the aspect ratio that fits."""
    service.reset()
    return Made(service, store, run("s3://videos/converted/", **CONVERT))


@pytest.fixture(scope="module")
def as_they_are(service, store, files, converted):
    """The archive's videos without conversion, after a dry run of the same, elsewhere."""
    service.reset()
    foretold = Made(service, store, run("s3://videos/plain/", dry_run=True))
    return foretold, Made(service, store, run("s3://videos/plain/"))


def own_keys(store, prefix):
    """All that a run has left below its output, but for its summary."""
    return {key for key in listed(store, "videos", prefix) if not key.startswith(f"{prefix}_veo/")}


def require_table(made, files):
    """The table has the row of each file, in the order in which S3 lists them, under its very name."""
    assert [row["key"] for row in made.rows] == sorted(files, key=str.encode)
    assert [row["image"] for row in made.rows] == [f"s3://images/{row['key']}" for row in made.rows]
    assert Counter(row["outcome"] for row in made.rows) == made.counts


def require_bill(made):
    """What was charged is what is stored, and each row says so of its own."""
    stored = made.with_outcome("stored")
    assert made.charges["count"] == len(made.tasks) == made.summary["accepted"] == len(stored)
    assert made.cost == made.charges["usd"] == pytest.approx(0.30 * len(stored))
    assert {row["key"] for row in made.rows if row["cost_usd"]} == stored
    assert set(made.tasks) == stored


def test_each_file_gets_what_is_right_for_it(converted, files):
    """What can be seen becomes a video; the reason of the others names what is wrong with them."""
    require_table(converted, files)
    refused = {key for key, file in files.items() if file.outcome == "refused"}
    assert converted.with_outcome("rejected") == refused
    assert converted.with_outcome("stored") == files.keys() - refused
    reasons = {row["key"]: row["reason"] for row in converted.rows}
    assert [key for key in refused if files[key].says not in reasons[key]] == []
    assert all(reasons[key] == "" for key in files.keys() - refused)


def test_only_videos_cost_money(converted, store, files):
    """The bill is that of the videos; below the output stand these and their receipts, and nothing else."""
    require_bill(converted)
    videos = {f"converted/{key.removeprefix(PREFIX)}.mp4" for key in converted.with_outcome("stored")}
    assert own_keys(store, "converted/") == videos | {f"{video}.veo.json" for video in videos}


def test_each_receipt_is_that_of_its_file(converted, store, files):
    """It knows the original by its digest, also where a JPEG made from it was sent."""
    for row in converted.rows:
        if row["outcome"] != "stored":
            continue
        bucket, _, key = row["output"].removeprefix("s3://").partition("/")
        receipt = json.loads(store.get_object(Bucket=bucket, Key=f"{key}.veo.json")["Body"].read())
        assert (receipt["state"], receipt["request"]["image"]) == ("stored", row["image"])
        assert receipt["request"]["image_sha256"] == files[row["key"]].data
        assert receipt["veo_task_id"] == row["veo_task_id"] == converted.tasks[row["key"]]["task_id"]


def test_the_service_gets_the_right_image(converted, files):
    """The file itself or a JPEG made from it, upright, and the frame that fits it."""
    for key, task in converted.tasks.items():
        file, (sent,) = files[key], task["files"]
        assert task["mode"] == "image-to-video"
        assert (sent["sha256"] == file.data) == (file.outcome == "as it is"), key
        assert file.outcome == "as it is" or sent["content_type"] == "image/jpeg"
        assert (sent["width"] < sent["height"]) == ("upright" in file.kind), key
        assert task["aspect_ratio"] == ("9:16" if "upright" in file.kind else "16:9"), key
        assert max(sent["width"], sent["height"]) <= rendering.MAX_OUTPUT_SIDE
        assert sent["filename"].isprintable()


def test_an_image_is_turned_before_it_is_sent(converted, files, store):
    """What the service gets is what the conversion makes, of which the pixels are tested elsewhere."""
    turned = [key for key, file in files.items() if file.says == "EXIF"]
    assert len(turned) > len(drawing.TURNED_BACK)
    for key in turned:
        data = store.get_object(Bucket="images", Key=key)["Body"].read()
        made = conversion.convert(
            key, size=len(data), header=data, open_stream=lambda data=data: io.BytesIO(data)
        )
        (sent,) = converted.tasks[key]["files"]
        assert sent["sha256"] == hashlib.sha256(b"".join(made.chunks(1 << 20))).hexdigest(), key


def test_a_dry_run_foretells_it(foretold, converted, files):
    """It rejects the same files for the same reasons, and submits nothing; S3's own limit is met later."""
    require_table(foretold, files)
    assert foretold.summary["accepted"] == 0
    late = {PREFIX + TOO_LONG}
    assert foretold.with_outcome("to make") == converted.with_outcome("stored") | late
    assert foretold.cost == pytest.approx(converted.cost + 0.30 * len(late))
    for told, made in zip(foretold.rows, converted.rows, strict=True):
        assert told["key"] in late or told["reason"] == made["reason"]


@pytest.mark.parametrize("again", [{"try_number": 2}, {"run_id": "tuesday"}], ids=["retry", "other run"])
def test_a_second_run_costs_nothing(service, store, files, converted, again):
    """It finds the videos, rejects the same files for the same reasons, and submits nothing."""
    service.reset()
    made = Made(service, store, run("s3://videos/converted/", **again, **CONVERT))
    require_table(made, files)
    assert made.summary["accepted"] == made.summary["content_requests"] == 0
    own = "try_number" in again
    assert made.with_outcome("stored" if own else "skipped") == converted.with_outcome("stored")
    assert made.cost == (converted.cost if own else 0)
    assert [row["reason"] for row in made.rows] == [row["reason"] for row in converted.rows]


def test_without_conversion_the_rest_is_refused(as_they_are, files, store):
    """What starts like an image is sent as it is; a reason says what is wrong, and where to convert it."""
    _, made = as_they_are
    require_table(made, files)
    require_bill(made)
    refused = {key: says for key, file in files.items() if (says := REFUSED_AS_THEY_ARE.get(file.kind))}
    reasons = {row["key"]: row["reason"] for row in made.rows if row["outcome"] == "rejected"}
    assert reasons.keys() == refused.keys()
    assert [key for key, says in refused.items() if says not in reasons[key]] == []
    helped = [key for key, says in refused.items() if says in (NO_FORMAT, "at most 20 MB")]
    assert all("convert=True" in reasons[key] for key in helped)
    assert all(task["files"][0]["sha256"] == files[key].data for key, task in made.tasks.items())
    videos = {f"plain/{key.removeprefix(PREFIX)}.mp4" for key in made.with_outcome("stored")}
    receipts = {f"{video}.veo.json" for video in videos}
    # Of what the service has refused, a receipt tells.
    receipts |= {
        f"plain/{key.removeprefix(PREFIX)}.mp4.veo.json" for key in refused if refused[key] is SERVICE
    }
    assert own_keys(store, "plain/") == videos | receipts


def test_a_dry_run_without_conversion_does_not_decode_images(as_they_are, files):
    """It rejects what the size and the first bytes tell; what the service will refuse, it would send."""
    foretold, made = as_they_are
    assert foretold.summary["accepted"] == 0
    late = {key for key, file in files.items() if REFUSED_AS_THEY_ARE.get(file.kind) in (SERVICE, "too long")}
    assert foretold.with_outcome("to make") == made.with_outcome("stored") | late


def test_a_list_of_local_files_comes_to_the_same(service, store, tmp_path):
    """By its path or its URI, each file has its outcome and its image: a third of all kinds, and all names.

    All kinds are opened by their paths in the unit tests.
    """
    service.reset()
    expected = {file.name: file for file in itertools.islice(images.awkward_files(), 0, None, 3)}
    for file in expected.values():
        (tmp_path / file.name).write_bytes(file.data)
    for name in NAMES:
        if "/" not in name:
            expected[name] = images.awkward_file("no extension", len(expected))
            (tmp_path / name).write_bytes(expected[name].data)
    uris = [f"{('', 'file://')[number % 2]}{tmp_path}/{name}" for number, name in enumerate(expected)]
    output = "s3://videos/local/"
    made = Made(service, store, run(output, images=uris, **CONVERT))
    assert [row["outcome"] for row in made.rows] == [
        "rejected" if file.outcome == "refused" else "stored" for file in expected.values()
    ]
    assert [row["image"] for row in made.rows] == uris
    assert [row["output"] for row in made.rows] == [f"{output}{name}.mp4" for name in expected]
    assert made.charges["count"] == made.counts["stored"]
