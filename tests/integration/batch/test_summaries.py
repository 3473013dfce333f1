"""Summaries in a real S3: made of receipts and notes, as JSON lines and as Parquet."""

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet
import pytest

from veo_provider.batch.manifest import ManifestItem, open_manifest
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.report import summary
from veo_provider.batch.report.journal import ResultJournal
from veo_provider.batch.report.row import SummaryRow
from veo_provider.batch.report.run_folder import run_folder
from veo_provider.batch.spec import BatchTuning
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState, claim

RUN = Attempt("archive / manual / make")
OTHER = Attempt("archive / yesterday / make")


@pytest.fixture
def prefix(s3, sandbox):
    """An output prefix of its own."""
    return f"{uuid.uuid4().hex}/"


@pytest.fixture
def folder(prefix):
    """Where the run keeps its summary."""
    return run_folder(f"s3://videos/{prefix}", str(RUN.task_instance))


@pytest.fixture
def archive(s3, prefix):
    """Twelve images, of a list, with a receipt for most of them."""
    states = {
        "01.jpg": (ReceiptState.STORED, RUN),
        "02.jpg": (ReceiptState.STORED, OTHER),
        "03.jpg": (ReceiptState.STORED, OTHER),
        "04.jpg": (ReceiptState.SUBMITTED, RUN),
        "05.jpg": (ReceiptState.UNKNOWN, RUN),
        "06.jpg": (ReceiptState.FAILED, RUN),
        "07.jpg": (ReceiptState.REFUSED, RUN),
        "08.jpg": (ReceiptState.STORED, RUN),
    }
    for name, (state, by) in states.items():
        video = {
            "bytes": 5_000_000_000,
            "sha256": "ab",
            "duration_seconds": 8.0,
            "width": 1280,
            "height": 720,
        }
        receipt = claim("f", {}, 0.30, by, seconds=100).transition(
            state, by, veo_task_id="task_1", video=video if state is ReceiptState.STORED else None
        )
        put(s3, f"{prefix}{name}.mp4.veo.json", receipt.to_json())
    put(s3, f"{prefix}09.jpg.mp4.veo.json", b"{")
    images = [f"s3://images/{number:02}.jpg" for number in range(1, 12)]
    return open_manifest([*images, images[0]], f"s3://videos/{prefix}", s3)


def notes_of(s3, folder, try_number=1, **tuning):
    return ResultJournal(s3, folder, RUN.task_instance, "a request", try_number, tuning=BatchTuning(**tuning))


def put(s3, key, body=b"x", bucket="videos"):
    s3.put_object(Bucket=bucket, Key=key, Body=body)


def read(s3, uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def lines(s3, uri):
    return [json.loads(line) for line in read(s3, uri).splitlines()]


def test_every_image_has_a_row(s3, archive, folder):
    """Receipts tell of what was paid, notes of the rest, and what neither knows was not started."""
    first, later = notes_of(s3, folder), notes_of(s3, folder)
    item = {each.path: each for each in archive.items()}
    first.add(item["02.jpg"], Outcome.CHANGED, "of another request")
    first.add(item["04.jpg"], Outcome.ERROR, "storing failed")
    first.add(item["07.jpg"], Outcome.REJECTED, "a first reason")
    first.add(item["08.jpg"], Outcome.ERROR, "mended since")
    first.flush()
    later.add(item["07.jpg"], Outcome.REJECTED, "refused\nby the service")
    later.add(item["10.jpg"], Outcome.REJECTED, "empty")
    later.flush()
    made = summary.write_summary(later.rows(archive.items()), s3, folder)
    found = [
        (row["image"][-6:], row["outcome"], row["reason"], row["cost_usd"]) for row in lines(s3, made.uri)
    ]
    assert found[:8] == [
        ("01.jpg", "stored", "", 0.30),
        ("02.jpg", "changed", "of another request", 0),
        ("03.jpg", "skipped", "", 0),
        ("04.jpg", "error", "storing failed", 0.30),
        ("05.jpg", "unknown", "", 0),
        ("06.jpg", "failed", "", 0),
        ("07.jpg", "rejected", "refused\nby the service", 0),
        ("08.jpg", "stored", "", 0.30),
    ]
    assert (found[8][1], "cannot be understood" in found[8][2]) == ("error", True)
    assert found[9:] == [
        ("10.jpg", "rejected", "empty", 0),
        ("11.jpg", "not started", "", 0),
        ("01.jpg", "skipped", "It is in the list twice.", 0),
    ]
    assert made.counts == Counter(row[1] for row in found)
    assert (made.cost_usd, made.unknown_usd) == (0.90, 0.30)


def test_parquet_has_the_same_rows(s3, archive, folder):
    """Each column has its type, whether or not the first rows have a value there."""
    rows = [*notes_of(s3, folder).rows(archive.items())]
    rows += [SummaryRow(f"{n}", "i", "o", Outcome.NOT_STARTED) for n in range(2500)]
    made = summary.write_summary(rows, s3, folder)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(read(s3, made.parquet_uri)))
    assert table.to_pylist() == lines(s3, made.uri)
    assert table.schema.field("bytes").type == pyarrow.int64()
    assert table.num_rows == 2512


def test_a_row_is_one_line_whatever_stands_in_it(s3, folder):
    """Names are for people to read, so that they are not escaped further than JSON needs."""
    item = ManifestItem("a\nb", "s3://i/ü☃", "ü☃", "s3://o/\u2028")
    row = SummaryRow.for_item(item, None, "run", outcome=Outcome.FAILED, reason="half a \ud83d")
    made = summary.write_summary([row, row], s3, folder)
    first, second, end = read(s3, made.uri).split(b"\n")
    assert (first, end) == (second, b"")
    assert "ü☃" in first.decode()
    assert json.loads(first)["key"] == "a\nb"


def test_without_pyarrow_there_are_json_lines(s3, folder, monkeypatch):
    """The result says that there is no Parquet."""
    monkeypatch.setattr(summary, "has_pyarrow", lambda: False)
    made = summary.write_summary(
        [SummaryRow("1", "i", "o", Outcome.TO_MAKE, cost_usd=0.30, price_usd=0.30)], s3, folder
    )
    assert made.parquet_uri is None
    assert len(lines(s3, made.uri)) == 1
    assert made.cost_usd == 0.30


def test_an_empty_archive_has_an_empty_summary(s3, folder):
    """A day without images is accounted for, too."""
    made = summary.write_summary([], s3, folder)
    assert (read(s3, made.uri), made.counts, made.cost_usd) == (b"", {}, 0)
    assert pyarrow.parquet.read_table(pyarrow.BufferReader(read(s3, made.parquet_uri))).num_rows == 0


def test_a_summary_that_breaks_off_leaves_the_one_before(s3, folder):
    """There is a whole table at any time, and no upload is left over."""
    made = summary.write_summary([SummaryRow("1", "i", "o", Outcome.STORED)], s3, folder)

    def rows():
        for number in range(1200):
            yield SummaryRow(f"{number}", "i", "o", Outcome.FAILED, f"{number}" * 3000)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        summary.write_summary(rows(), s3, folder)
    assert len(lines(s3, made.uri)) == 1
    key = made.uri.removeprefix("s3://videos/")
    assert s3.list_multipart_uploads(Bucket="videos", Prefix=key).get("Uploads", []) == []


def test_a_summary_is_in_the_order_of_a_listing(s3, prefix, folder):
    """Receipts are read by many threads, and the rows stay in order."""
    keys = [f"{prefix}{number:03}.jpg" for number in range(300)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: put(s3, key, bucket="images"), keys))
    archive = open_manifest(f"s3://images/{prefix}", f"s3://videos/{prefix}", s3)
    assert [row.key for row in notes_of(s3, folder).rows(archive.items())] == keys


def test_notes_of_another_try_do_not_count(s3, archive, folder):
    """A new try walks over everything anew; and in the end no notes are left."""
    first, second, again = (notes_of(s3, folder, number) for number in (1, 2, 1))
    item, other = list(archive.items())[9:11]
    for notes in (first, second):
        notes.add(item if notes is first else other, Outcome.REJECTED, "empty")
        notes.flush()
        notes.flush()
    assert rejected(second, archive) == [other.key]
    assert again.start_try() is None
    assert rejected(again, archive) == [], "those of a run that was deleted do not count either"
    second.clear()
    assert s3.list_objects_v2(Bucket="videos", Prefix=folder.removeprefix("s3://videos/"))["KeyCount"] == 0


def rejected(notes, archive):
    return [row.key for row in notes.rows(archive.items()) if row.outcome is Outcome.REJECTED]


def test_a_noted_video_needs_no_receipt_in_the_end(s3, prefix, folder):
    """Rows are noted as videos finish; they come in the archive's order, and receipts tell the rest."""
    archive = open_manifest(
        [f"s3://images/{number:02}.jpg" for number in range(20)], f"s3://videos/{prefix}", s3
    )
    items = list(archive.items())
    stored = claim("f", {}, 0.30, RUN, seconds=100).transition(
        ReceiptState.STORED, RUN, veo_task_id="task_1", video={"bytes": 7}
    )
    put(s3, items[11].output.removeprefix("s3://videos/") + ".veo.json", stored.to_json())
    notes = notes_of(s3, folder, max_cached_rows=6)
    for number in (1, 0, 3, 2, 5, 4, 6, 7, 9, 8, 10, 13, 12, 15, 14, 17, 16, 18, 19):
        notes.add(items[number], Outcome.STORED, "", stored)
        if number % 2:
            notes.flush()
    rows = list(notes.rows(archive.items()))
    assert [row.key for row in rows] == [item.key for item in items]
    assert {(row.outcome, row.bytes, row.cost_usd) for row in rows} == {(Outcome.STORED, 7, 0.30)}


def test_progress_is_an_object_beside_the_summary(s3, folder):
    """The last one counts."""
    summary.write_progress(s3, folder, {"done": 1})
    summary.write_progress(s3, folder, {"done": 2, "rate": 0.5})
    assert json.loads(read(s3, f"{folder}progress.json")) == {"done": 2, "rate": 0.5}


def test_notes_that_cannot_be_written_are_kept(s3, archive, folder):
    """The task is tried again; progress is not worth that."""
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    config = Config(retries={"total_max_attempts": 1})
    away = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=config, **keys)
    notes = notes_of(away, folder)
    notes.add(next(archive.items()), Outcome.REJECTED, "empty")
    made = (lambda: list(notes.rows(archive.items())), lambda: summary.write_summary([], away, folder))
    for attempt in (notes.flush, notes.flush, *made):
        with pytest.raises(summary.VeoSummaryUnavailableError) as caught:
            attempt()
        assert caught.value.retryable
    notes.clear()
    summary.write_progress(away, folder, {})
    away.close()
