"""Images, folders of frames, tables of boxes and first boxes in the kinds that people have; see make_inputs.py."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from make_inputs import Base
from make_media import write
from PIL import Image

SHORT = 12  # frames of the folders and tables


@dataclass(frozen=True)
class Photo:
    """An image.

    Attributes:
        name: of the file.
        make: writes it.
        same: whether it shows the portrait: in "colour", in "grey", or not ("").
        error: part of the reason why it cannot be used.
        enrols: whether a person can be enrolled from it; "" or part of the reason why not.
    """

    name: str
    make: Callable[[Path, Base], Any]
    same: str = "colour"
    error: str = ""
    enrols: str = ""


def _saved(mode: str = "RGB", turn: int | None = None, tag: int = 0, **options: Any) -> Callable[[Path, Base], Any]:
    """The portrait in some mode; stored turned or mirrored, with the tag of its orientation."""

    def make(path: Path, b: Base) -> None:
        image, exif = b.portrait.convert(mode), Image.Exif()
        if turn is not None:
            image, exif[0x0112] = image.transpose(Image.Transpose(turn)), tag
            options["exif"] = exif
        image.save(path, **options)

    return make


def _jpeg(change: Callable[[bytes], bytes]) -> Callable[[Path, Base], Any]:
    def make(path: Path, b: Base) -> None:
        place = io.BytesIO()
        b.portrait.save(place, "JPEG", quality=85)
        path.write_bytes(change(place.getvalue()))

    return make


def _array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, Base], Any]:
    """Of the portrait's grey levels."""
    return lambda path, b: Image.fromarray(change(np.asarray(b.portrait.convert("L")))).save(path)


def _plain(size: tuple[int, int], colour: Any = (120, 90, 60), mode: str = "RGB") -> Callable[[Path, Base], Any]:
    return lambda path, b: Image.new(mode, size, colour).save(path)


def _animated(path: Path, b: Base) -> None:
    frames = [b.portrait.rotate(20 * k) for k in range(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


def _motion(path: Path, b: Base) -> None:
    video = write(path.with_suffix(".mp4"), b.video(1))
    _jpeg(lambda data: data + video.read_bytes())(path, b)
    video.unlink()


_TURN = Image.Transpose
PHOTOS = (
    Photo("plain.jpg", _saved(quality=85)),
    Photo("exif6.jpg", _saved(turn=_TURN.ROTATE_90, tag=6)),
    Photo("exif5.jpg", _saved(turn=_TURN.TRANSPOSE, tag=5)),
    Photo("cmyk.jpg", _saved("CMYK")),
    Photo("gray16.png", _array(lambda grey: grey.astype(np.uint16) * 257), same="grey"),
    Photo("float01.tif", _array(lambda grey: (grey / 255).astype(np.float32)), same="grey"),
    Photo("lossy.webp", _saved()),
    Photo("lzw.tif", _saved(compression="tiff_lzw")),
    Photo("animated.gif", _animated),
    Photo("animated.webp", _animated),
    Photo("pal.png", _saved("P", transparency=0)),
    Photo("bit1.tif", _saved("1"), same="grey"),
    Photo("mp200.jpg", _plain((16320, 12240)), same=""),
    Photo("scan176.png", _plain((16000, 11000), 128, "L"), same=""),
    Photo("cut.jpg", _jpeg(lambda data: data[: len(data) // 2]), error="cut short"),
    Photo("empty.jpg", _jpeg(lambda data: b""), error="is empty"),
    Photo("page.jpg", _jpeg(lambda data: b"<html>404</html>"), error="not an image"),
    Photo("trailing.jpg", _jpeg(lambda data: data + bytes(2000))),
    Photo("reallypng.jpg", _saved(format="PNG")),
    Photo("jp2.jp2", _saved()),
    Photo("MVIMG.jpg", _motion),
    Photo("one.png", _plain((1, 1)), same="", enrols="too few"),
    Photo("line.png", _plain((1, 4000)), same="", enrols="too few"),
)


@dataclass(frozen=True)
class Folder:
    """A folder of frames: the names of its images, how many frames it has, and other files in it."""

    name: str
    names: tuple[str, ...]
    frames: int
    junk: tuple[str, ...] = ()

    def make(self, path: Path, b: Base) -> None:
        """Writes the folder."""
        path.mkdir()
        for image, name in zip(b.frames, self.names, strict=False):
            Image.fromarray(image).save(path / name, "PNG")
        for name in self.junk:
            (path / name).write_bytes(b"\0\5\x16\7junk")


FOLDERS = (
    Folder("plain", tuple(f"{k:06d}.png" for k in range(1, SHORT + 1)), SHORT),
    Folder("nanoseconds", tuple(f"{1403636579763555584 + k * 100_000_000}.png" for k in range(5)), 5),
    Folder("everytenth", tuple(f"frame{10 * k:05d}.png" for k in range(6)), 6),
    Folder("noleadingzeros", tuple(f"{k}.png" for k in range(1, SHORT + 1)), SHORT),
    Folder("upper", tuple(f"{k:03d}.PNG" for k in range(1, 6)), 5),
    Folder("withjunk", tuple(f"{k:06d}.png" for k in range(1, 6)), 5, ("._000001.png", "Thumbs.db")),
)


@dataclass(frozen=True)
class Boxes:
    """A table of boxes (--detections) or of first boxes (--init) for the folder "plain".

    Attributes:
        name: of the file.
        make: writes it.
        like: the table whose tracks it gives, all the same; "": none, it has its own.
        error: part of the line that says why it cannot be used.
    """

    name: str
    make: Callable[[Path, Base], Any]
    like: str = "good.txt"
    error: str = ""

    @property
    def flag(self) -> str:
        """The argument that takes it."""
        return "--init" if self.name.endswith(".json") else "--detections"


def true_rows(b: Base, first: int = 1, score: str = "0.9", ending: str = ",-1,-1,-1") -> list[str]:
    """Returns the true boxes of the first frames in MOTChallenge's text; `first` is the number of the first frame."""
    return [
        f"{number},-1,{left + 1:g},{top + 1:g},{width:g},{height:g},{score}{ending}"
        for number, truth in enumerate(b.truth[:SHORT], first)
        for left, top, width, height in truth.boxes.tolist()
    ]


def _text(
    change: Callable[[list[str]], list[str]], first: int = 1, newline: str = "\n", encoding: str = "utf-8"
) -> Any:
    def make(path: Path, b: Base) -> None:
        rows = change(true_rows(b, first))
        path.write_text(newline.join(rows) + newline, encoding=encoding, newline="")

    return make


def _each(change: Callable[[str], str]) -> Any:
    return _text(lambda rows: [change(row) for row in rows])


def _scored(score: str) -> Any:
    return lambda path, b: path.write_text("\n".join(true_rows(b, score=score)) + "\n")


def _scientific(row: str) -> str:
    fields = [float(field) for field in row.split(",")]
    return ",".join(f"{field:.6e}" for field in fields[:7])


def _first_box(b: Base) -> list[float]:
    return b.truth[0].boxes[0].tolist()


def _json(**more: Any) -> Callable[[Path, Base], Any]:
    return lambda path, b: path.write_text(json.dumps([{"box": _first_box(b), **more}]))


TABLES = (
    Boxes("good.txt", _text(list), like=""),
    Boxes("crlf.txt", _text(list, newline="\r\n")),
    Boxes("bom.txt", _text(list, encoding="utf-8-sig")),
    Boxes("utf16.txt", _text(list, encoding="utf-16")),
    Boxes("zero_based.txt", _text(list, first=0)),
    Boxes("emptyid.txt", _each(lambda row: row.replace(",-1,", ",,", 1))),
    Boxes("sci.txt", _each(_scientific)),
    Boxes("trailing.txt", _each(lambda row: row + ",")),
    Boxes("semicolon.txt", _each(lambda row: row.replace(",", ";"))),
    Boxes("tabs.txt", _each(lambda row: row.replace(",", "\t"))),
    Boxes("header.txt", _text(lambda rows: ["frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z", *rows])),
    Boxes("decimalcomma.txt", _each(lambda row: row.replace(".", "@").replace(",", ";").replace("@", ","))),
    Boxes("percent.txt", _scored("95")),
    Boxes("zeroconf.txt", _scored("0"), like=""),
    Boxes("negscore.txt", _scored("-0.42"), like=""),
    Boxes("nan.txt", _text(lambda rows: [*rows[:-1], "12,-1,nan,100,40,90,0.9"]), error="line"),
    Boxes("xyxy_big.txt", _text(lambda rows: [f"{n},-1,10,10,100000,100000,0.9" for n in range(1, 13)]), like=""),
    Boxes("init.json", _json(), like=""),
    Boxes("init_floatid.json", _json(id=1.0, frame=1.0), like="init.json"),
    Boxes("init_numpy.json", _json(id=1), like="init.json"),
    Boxes("init_nan.json", lambda path, b: path.write_text('[{"box": [NaN, 10, 40, 90]}]'), error="four numbers"),
    Boxes("init_strid.json", _json(id="7"), error='the id "7"'),
)
