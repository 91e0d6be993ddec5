"""Photographs of every kind that people have come out as upright 8-bit RGB; broken ones give one line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.data import images
from storyjax.data.images import ImageError, read_image

RED, GREEN = (220, 30, 20), (20, 200, 40)


def halves(width: int = 60, height: int = 40) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    return image


def close(pixel: np.ndarray, colour: tuple[int, int, int], by: int = 40) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= by)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    halves().save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert close(image[20, 10], RED)
    assert close(image[20, 50], GREEN)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    # Orientation 6: the camera was held on its side, so the image must turn a quarter clockwise.
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (60, 40, 3)
    assert close(image[10, 20], RED)
    assert close(image[50, 20], GREEN)


def test_printers_and_scanners_files(tmp_path: Path) -> None:
    halves().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert close(read_image(tmp_path / "cmyk.jpg")[20, 10], RED)
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.abs(read_image(tmp_path / "deep.png")[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    halves().convert("L").save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (40, 60, 3)
    halves().convert("1").save(tmp_path / "fax.tiff")
    assert set(np.unique(read_image(tmp_path / "fax.tiff"))) <= {0, 255}


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    cut = halves().convert("RGBA")
    cut.putalpha(Image.new("L", cut.size, 0))
    cut.save(tmp_path / "cut.png")
    assert read_image(tmp_path / "cut.png").min() == 255
    palette = halves().quantize(2, dither=Image.Dither.NONE)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 0)))
    image = read_image(tmp_path / "p.png")
    assert close(image[20, 10], (255, 255, 255))
    assert close(image[20, 50], GREEN)


def test_the_first_image_of_an_animation(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), RED).save(
        tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (20, 20), GREEN)], duration=100
    )
    assert close(read_image(tmp_path / "a.gif")[5, 5], RED)


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), RED).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (1, 1, 3)


def jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"not an image at all", "is not an image that can be read"),
        (jpeg()[: len(jpeg()) // 2], "is damaged or was cut short"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "is "),
    ],
    ids=["empty", "text", "cut", "zeros"],
)
def test_broken_files_are_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "a.jpg")
    assert message in str(error.value)
    assert "a.jpg" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_huge(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"No such file or directory"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match=r"Is a directory"):
        read_image(tmp_path)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(ImageError, match="make it smaller"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_fractions_and_other_floats_are_not_black(tmp_path: Path, top: float) -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(8, 0) * np.float32(top)
    Image.fromarray(ramp).save(tmp_path / "a.tiff")
    assert np.abs(read_image(tmp_path / "a.tiff")[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize(("name", "top"), [("a.png", 4095), ("a.tiff", 4095), ("a.png", 65535), ("a.png", 255)])
def test_scans_of_twelve_bits_are_not_black(tmp_path: Path, name: str, top: int) -> None:
    ramp = np.linspace(0, top, 256).round().astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / name)
    assert np.abs(read_image(tmp_path / name)[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_the_file_says_what_is_white(tmp_path: Path) -> None:
    dark = np.full((4, 4), 300, np.uint16)
    Image.fromarray(dark).save(tmp_path / "a.tiff", tiffinfo={281: 65535})
    assert read_image(tmp_path / "a.tiff")[0, 0, 0] == 1  # 300 of 65535


def test_two_hundred_megapixels_are_scaled_down_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    halves(16_320, 12_240).save(tmp_path / "phone.jpg", exif=exif, quality=10)
    image = read_image(tmp_path / "phone.jpg")
    assert image.shape == (8160, 6120, 3)
    assert close(image[100, 100], RED)
    assert close(image[-100, 100], GREEN)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "F"])
def test_every_kind_of_image_can_be_scaled_down(tmp_path: Path, monkeypatch, mode: str) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    grey = Image.new("L", (60, 40), 0)
    grey.paste(255, (30, 0, 60, 40))
    values = np.asarray(grey)
    image = Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    image.save(tmp_path / "a.tiff")
    small = read_image(tmp_path / "a.tiff")
    assert small.shape == (20, 30, 3)
    assert close(small[10, 3], (0, 0, 0))
    assert close(small[10, 26], (255, 255, 255))


def test_heic_photos_are_read_or_named(tmp_path: Path) -> None:
    if not images.reads_heif():
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
        with pytest.raises(ImageError, match="HEIC photo, which needs pillow-heif"):
            read_image(tmp_path / "a.heic")
        return
    halves(64, 64).save(tmp_path / "a.heic", quality=90)
    image = read_image(tmp_path / "a.heic")
    assert close(image[32, 10], RED)
    assert close(image[32, 50], GREEN)
