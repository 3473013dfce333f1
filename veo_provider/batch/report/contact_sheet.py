"""The contact sheet of a batch: one JPEG with its first videos, for people to look at. Needs Pillow.

Each cell is the video's poster, or else its image. Whatever goes wrong, the batch goes on without.
"""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from veo_provider.batch.outcome import WITH_VIDEO
from veo_provider.batch.report.run_folder import get, put
from veo_provider.generation.posters import poster_beside
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import PIL.Image
    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.report.row import SummaryRow

log = logging.getLogger(__name__)

NAME = "contact-sheet.jpg"
_COLUMNS, _ROWS = 8, 8
_WIDTH, _HEIGHT, _GAP, _CAPTION = 240, 160, 8, 16
_BACKGROUND, _TEXT = (24, 24, 27), (228, 228, 231)
_MAX_IMAGE_BYTES = 20_000_000


class ContactSheet:
    """Remembers the first videos of a summary while its rows pass, and draws them."""

    def __init__(self) -> None:
        self._shown: list[SummaryRow] = []

    def watch(self, rows: Iterable[SummaryRow]) -> Iterator[SummaryRow]:
        """Yield all rows, and remember the first ones that have a video."""
        for row in rows:
            if len(self._shown) < _COLUMNS * _ROWS and row.outcome in WITH_VIDEO:
                self._shown.append(row)
            yield row

    def write(self, s3: S3Client, folder: str) -> str | None:
        """Draw the sheet into the run's folder, and return its URI; None if there is none.

        This call blocks, never fails, and has one picture in memory beside the sheet.
        """
        if not self._shown:
            return None
        try:
            target = S3Uri.parse(f"{folder}{NAME}", "folder")
            put(s3, target, self._draw(s3), "image/jpeg")
        # Pillow and S3 each raise their own errors.
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("The batch has no contact sheet: %s", error)
            return None
        return str(target)

    def _draw(self, s3: S3Client) -> bytes:
        import PIL.Image
        import PIL.ImageDraw

        columns = min(_COLUMNS, len(self._shown))
        rows = -(-len(self._shown) // columns)
        cell = (_WIDTH + _GAP, _HEIGHT + _CAPTION + _GAP)
        sheet = PIL.Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), _BACKGROUND)
        pen = PIL.ImageDraw.Draw(sheet)
        for number, row in enumerate(self._shown):
            x, y = _GAP + number % columns * cell[0], _GAP + number // columns * cell[1]
            with suppress(Exception):  # an empty cell is better than no sheet
                picture = _picture(s3, row)
                left, top = (_WIDTH - picture.width) // 2, (_HEIGHT - picture.height) // 2
                sheet.paste(picture, (x + left, y + top))
            pen.text((x, y + _HEIGHT + 2), _caption(row), fill=_TEXT)
        jpeg = io.BytesIO()
        sheet.save(jpeg, "JPEG", quality=82)
        return jpeg.getvalue()


def _picture(s3: S3Client, row: SummaryRow) -> PIL.Image.Image:
    """Return a video's poster, or else its image, in the size of a cell."""
    import PIL.Image
    import PIL.ImageOps

    from veo_provider.media.decoding import pillow_guard

    data = get(s3, poster_beside(S3Uri.parse(row.output, "output"))) or _image(s3, row.image)
    with pillow_guard(row.image), PIL.Image.open(io.BytesIO(data)) as opened:
        opened.draft("RGB", (2 * _WIDTH, 2 * _HEIGHT))
        picture = PIL.ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((_WIDTH, _HEIGHT))
        return picture


def _image(s3: S3Client, uri: str) -> bytes:
    """Return the bytes of an image in S3.

    :raises ValueError: it is elsewhere, or large.
    """
    target = S3Uri.parse(uri, "image")
    found = s3.get_object(Bucket=target.bucket, Key=target.key)
    if found["ContentLength"] > _MAX_IMAGE_BYTES:
        raise ValueError(f"{uri} is large.")
    return found["Body"].read()


def _caption(row: SummaryRow) -> str:
    """Return the name of the image, in the characters that Pillow's own font has."""
    name = row.image.rpartition("/")[2].encode("latin-1", "replace").decode("latin-1")
    return name if len(name) <= _WIDTH // 7 else f"{name[: _WIDTH // 7 - 3]}..."
