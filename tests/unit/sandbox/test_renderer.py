"""The renderer: real videos from images, small ones for speed."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest
from PIL import Image

import veo_provider.sandbox
from veo_provider.sandbox.renderer import Renderer, RenderSpec, StoppedError, render

PHOTO = Path(veo_provider.sandbox.__file__).parent / "photos" / "chelsea.png"


def first_frame(path: Path) -> Image.Image:
    """The first picture of a video."""
    with av.open(path) as container:
        return next(container.decode(video=0)).to_image()


def is_near(pixel: object, colour: tuple[int, int, int]) -> bool:
    """Whether a pixel has a colour, as far as encoding and older decoders keep colours."""
    assert isinstance(pixel, tuple)
    return all(abs(int(each) - wanted) < 48 for each, wanted in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(("width", "height", "seconds"), [(320, 180, 4), (180, 320, 6)])
def test_a_video_has_the_requested_length_and_size(
    tmp_path: Path, width: int, height: int, seconds: int
) -> None:
    """The container is exactly as long as asked, at 24 pictures a second."""
    render(RenderSpec(PHOTO, "x", seconds, width, height), tmp_path / "video.mp4")
    with av.open(tmp_path / "video.mp4") as container:
        assert container.duration == seconds * 1_000_000
        video = container.streams.video[0]
        assert (video.width, video.height, video.frames) == (width, height, seconds * 24)


def test_a_video_zooms_slowly_into_the_middle(tmp_path: Path) -> None:
    """The last picture shows less than the first one, and no two in a row are the same."""
    picture = Image.new("RGB", (320, 180), "red")
    picture.paste("blue", (20, 20, 300, 160))
    picture.save(tmp_path / "frame.png")
    render(RenderSpec(tmp_path / "frame.png", "x", 1, 320, 180), tmp_path / "video.mp4")
    with av.open(tmp_path / "video.mp4") as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    assert is_near(frames[0].getpixel((5, 90)), (255, 0, 0))
    assert is_near(frames[-1].getpixel((5, 90)), (0, 0, 255))


def test_an_image_is_cropped_and_not_distorted(tmp_path: Path) -> None:
    """Of a wide picture, an upright video shows the middle."""
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (120, 0, 180, 100))
    picture.save(tmp_path / "wide.png")
    render(RenderSpec(tmp_path / "wide.png", "x", 1, 90, 160), tmp_path / "video.mp4")
    frame = first_frame(tmp_path / "video.mp4")
    assert frame.size == (90, 160)
    assert all(is_near(frame.getpixel((x, 80)), (0, 0, 255)) for x in (3, 45, 86))


def test_a_photograph_is_turned_upright_as_its_exif_says(tmp_path: Path) -> None:
    """Orientation 6 means that the camera was held upright: its left side is the top."""
    picture = Image.new("RGB", (320, 180), "red")
    picture.paste("blue", (160, 0, 320, 180))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    render(RenderSpec(tmp_path / "turned.jpg", "x", 1, 180, 320), tmp_path / "video.mp4")
    frame = first_frame(tmp_path / "video.mp4")
    assert is_near(frame.getpixel((90, 20)), (255, 0, 0))
    assert is_near(frame.getpixel((90, 300)), (0, 0, 255))


def test_a_transparent_image_gets_a_white_background(tmp_path: Path) -> None:
    """Videos have no transparency."""
    Image.new("RGBA", (320, 180), (0, 0, 0, 0)).save(tmp_path / "clear.webp")
    render(RenderSpec(tmp_path / "clear.webp", "x", 1, 320, 180), tmp_path / "video.mp4")
    assert is_near(first_frame(tmp_path / "video.mp4").getpixel((160, 90)), (255, 255, 255))


def test_text_alone_gives_a_gradient_of_its_own(tmp_path: Path) -> None:
    """Without a picture, the prompt chooses the colours."""
    frames = []
    for number, prompt in enumerate(("a boat", "a cat")):
        render(RenderSpec(None, prompt, 1, 160, 90), tmp_path / f"{number}.mp4")
        frames.append(first_frame(tmp_path / f"{number}.mp4"))
    assert frames[0].getpixel((0, 0)) != frames[0].getpixel((159, 89))
    assert frames[0].getpixel((0, 0)) != frames[1].getpixel((0, 0))


def test_the_sound_is_quiet_but_there(tmp_path: Path) -> None:
    """A chord between silence and half of full scale, in stereo."""
    render(RenderSpec(PHOTO, "x", 1, 160, 90), tmp_path / "video.mp4")
    with av.open(tmp_path / "video.mp4") as container:
        assert container.streams.audio[0].channels == 2
        samples = [
            abs(value)
            for frame in container.decode(audio=0)
            for value in memoryview(frame.planes[0]).cast("B").cast("f")[: frame.samples]
        ]
    assert 0.02 < max(samples) < 0.5


def test_the_index_comes_before_the_frames(tmp_path: Path) -> None:
    """Faststart: a player can start before it has the whole file."""
    render(RenderSpec(PHOTO, "x", 1, 160, 90), tmp_path / "video.mp4")
    content = (tmp_path / "video.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_equal_specs_are_rendered_once(tmp_path: Path) -> None:
    """The same picture, length and size give the same file, also to a renderer that opens later."""
    spec = RenderSpec(PHOTO, "x", 1, 160, 90)
    renderer = Renderer(tmp_path)
    assert renderer.render(spec) is renderer.render(spec)
    path = renderer.render(spec).result(timeout=60)
    renderer.close()
    written = path.stat().st_mtime_ns
    later = Renderer(tmp_path)
    assert later.render(spec).result(timeout=60) == path
    later.close()
    assert path.stat().st_mtime_ns == written


def test_a_failed_spec_is_rendered_again(tmp_path: Path) -> None:
    """A renderer does not remember a failure."""
    spec = RenderSpec(tmp_path / "late.png", "x", 1, 160, 90)
    renderer = Renderer(tmp_path)
    assert renderer.render(spec).exception(timeout=60) is not None
    Image.new("RGB", (160, 90)).save(tmp_path / "late.png")
    assert renderer.render(spec).result(timeout=60).exists()
    renderer.close()


def test_rendering_stops_when_the_sandbox_closes(tmp_path: Path) -> None:
    """A long video does not delay the end."""
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StoppedError):
        render(RenderSpec(PHOTO, "x", 8, 160, 90), tmp_path / "video.mp4", stopping)
