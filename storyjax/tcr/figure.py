"""The figure of an answer, after Fig. 3.4: the question and its answers, and below them the frames along time, each as
opaque as the attention it got. Drawn with Pillow alone."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from storyjax.core.errors import StoryjaxError
from storyjax.data.prompts import LETTERS
from storyjax.tcr.answer import Answer, clock

# All lengths in pixels.
WIDTH, MARGIN, GAP = 1600, 56, 8
COLUMNS, ROWS = 12, 4
LARGEST_CELL = 300
FAINTEST = 0.12  # the opacity of a frame that got no attention: still to be made out
PAPER, INK, GREY, PALE, ACCENT = (255, 255, 255), (28, 30, 36), (128, 132, 142), (229, 232, 240), (29, 92, 214)
MIDDLE = (196, 203, 217)


def draw(answer: Answer, path: str | os.PathLike[str] | None = None) -> Image.Image:
    """Returns the figure, also written to `path` if given; its extension says the format.

    Raises:
        StoryjaxError: the image cannot be written there.
    """
    if path is not None:
        check_path(path)
    attention = np.asarray(answer.attention)
    chosen = in_columns(attention, COLUMNS * ROWS)
    _, cell = _grid(len(chosen))
    frames = _fitted(answer, chosen, cell)
    # Drawn on a sheet that is certainly long enough, then cut.
    lines = sum(len(text) for text in (answer.question, answer.text, *answer.options)) // 20
    sheet = Image.new("RGB", (WIDTH, 1500 + 80 * (lines + len(answer.options)) + ROWS * 3 * cell), PAPER)
    canvas = ImageDraw.Draw(sheet)
    y = _draw_words(canvas, answer)
    y = _draw_frames(sheet, answer, chosen, frames, y + 28)
    y = _draw_time_line(canvas, answer, y + 20)
    figure = sheet.crop((0, 0, WIDTH, y + MARGIN // 2))
    if path is not None:
        figure.save(path)
    return figure


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuses a path that an image could not be written to, before anything long is done for it."""
    path = Path(path)
    known = sorted(set(Image.registered_extensions()) & {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tiff", ".bmp"})
    if path.suffix.lower() not in known:
        raise StoryjaxError(f"figure {path}: the name must end in {', '.join(known)}")
    if not path.absolute().parent.is_dir():
        raise StoryjaxError(f"figure {path}: there is no folder {path.parent}; make it first")


def in_columns(attention: Float[np.ndarray, " t"], most: int) -> list[int]:
    """Returns the indices of the frames shown: all, or of each of `most` segments of time the one that got most
    attention.
    """
    if len(attention) <= most:
        return list(range(len(attention)))
    edges = np.linspace(0, len(attention), most + 1).round().astype(int)
    return [int(first + attention[first:end].argmax()) for first, end in itertools.pairwise(edges)]


def _grid(count: int) -> tuple[int, int]:
    """(columns, width of a cell in pixels) for so many frames: as few rows as there can be, all about equally long."""
    columns = -(-count // -(-count // COLUMNS))
    return columns, min(LARGEST_CELL, (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns)


def _fitted(answer: Answer, chosen: Sequence[int], width: int) -> list[Image.Image]:
    """The chosen frames, `width` wide and at most half as high again."""
    frames = answer.thumbnails(chosen, height=min(2 * width, 360))
    shape = frames[0].size
    height = min(round(shape[1] * width / shape[0]), width * 3 // 2)
    scale = min(width / shape[0], height / shape[1])
    size = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    return [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]


def _draw_words(canvas: ImageDraw.ImageDraw, answer: Answer) -> int:
    """The question, and what was answered with how much confidence; returns where they end."""
    y = _draw_text(canvas, (MARGIN, MARGIN - 12), answer.question, 38, INK, WIDTH - 2 * MARGIN) + 22
    texts = answer.options or (answer.text,)
    left = MARGIN + 52 * bool(answer.options)
    longest = max(_font(26).getlength(text) for text in texts)
    bars = int(min(left + longest + 40, WIDTH * 0.6))
    for index, (text, probability) in enumerate(zip(texts, answer.probabilities, strict=True)):
        taken = index == (answer.option or 0)
        colour = ACCENT if taken else GREY
        if answer.options:
            canvas.text((MARGIN, y), LETTERS[index], colour, _font(26))
        end = _draw_text(canvas, (left, y), text, 26, ACCENT if taken else INK, bars - left - 30)
        right = WIDTH - MARGIN - 90
        canvas.rounded_rectangle((bars, y + 4, right, y + 28), 5, PALE)
        length = round((right - bars) * probability)
        if length >= 3:
            canvas.rounded_rectangle((bars, y + 4, bars + length, y + 28), min(5, length // 2), colour)
        canvas.text((WIDTH - MARGIN, y), _percent(probability), colour, _font(26), anchor="ra")
        y = max(end, y + 34) + 8
    return y


def _draw_frames(
    sheet: Image.Image, answer: Answer, chosen: Sequence[int], frames: Sequence[Image.Image], y: int
) -> int:
    """Frames in rows along time, with their opacity, and their times below; returns where they end."""
    canvas, most = ImageDraw.Draw(sheet), max(answer.attention)
    columns, cell = _grid(len(chosen))
    width, height = frames[0].size
    for place, (index, frame) in enumerate(zip(chosen, frames, strict=True)):
        row, column = divmod(place, columns)
        x, top = MARGIN + column * (cell + GAP) + (cell - width) // 2, y + row * (height + 40)
        opacity = FAINTEST + (1 - FAINTEST) * answer.attention[index] / most
        sheet.paste(Image.blend(Image.new("RGB", frame.size, PAPER), frame, opacity), (x, top))
        attended = _in_moment(answer, index)
        if attended:
            canvas.rectangle((x, top + height + 2, x + width - 1, top + height + 5), ACCENT)
        time = clock(answer.seconds[index], answer.duration_s)
        canvas.text((x + width / 2, top + height + 9), time, ACCENT if attended else GREY, _font(17), anchor="ma")
    return y + -(-len(chosen) // columns) * (height + 40)


def _draw_time_line(canvas: ImageDraw.ImageDraw, answer: Answer, y: int) -> int:
    """The attention of all frames as bars over the whole video; returns where it ends."""
    height, span = 64, WIDTH - 2 * MARGIN
    count, most = len(answer.attention), max(answer.attention)
    for index, share in enumerate(answer.attention):
        left, right = MARGIN + span * index / count, MARGIN + span * (index + 1) / count - (count < 400)
        top = y + height - max(1, round(height * share / most))
        canvas.rectangle((left, top, max(left, right - 1), y + height), ACCENT if _in_moment(answer, index) else MIDDLE)
    canvas.line((MARGIN, y + height + 2, WIDTH - MARGIN, y + height + 2), GREY, 1)
    for tick in range(5):
        anchor = "la" if tick == 0 else "ra" if tick == 4 else "ma"
        time = clock(answer.duration_s * tick / 4, answer.duration_s)
        canvas.text((MARGIN + span * tick / 4, y + height + 8), time, GREY, _font(17), anchor=anchor)
    shown = f"{COLUMNS * ROWS} of {count}" if count > COLUMNS * ROWS else str(count)
    caption = f"{Path(answer.video).name}: {shown} frame{'s' * (count != 1)}, each as opaque as the attention it got"
    caption += ", which is about even." if _looked_everywhere(answer) else "; where it looked most, in blue."
    return _draw_text(canvas, (MARGIN, y + height + 38), caption, 17, GREY, span)


def _in_moment(answer: Answer, index: int) -> bool:
    """Whether a frame's part of the video is within a moment that got most attention."""
    centre = (index + 0.5) * answer.duration_s / len(answer.attention)
    inside = any(moment.start_s <= centre <= moment.end_s for moment in answer.moments)
    return inside and not _looked_everywhere(answer)


def _looked_everywhere(answer: Answer) -> bool:
    return answer.moments[0].share == 1.0


def _draw_text(
    canvas: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], width: int
) -> int:
    """Text broken into lines of at most `width`; returns where it ends."""
    font, lines = _font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    pitch = round(size * 1.3)
    for number, line in enumerate(lines):
        canvas.text((at[0], at[1] + number * pitch), line, colour, font)
    return at[1] + len(lines) * pitch


def _percent(probability: float) -> str:
    return "< 1 %" if probability < 0.01 else "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own face, so that a figure looks the same everywhere."""
    return ImageFont.load_default(size)
