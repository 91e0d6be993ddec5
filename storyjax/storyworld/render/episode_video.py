"""Episodes in images and sound, and as mp4 with both. A moment has the same pixels whenever it is asked for."""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32, Int16, UInt8

from storyjax.storyworld.draw.canvas import Canvas
from storyjax.storyworld.draw.people import HEAD, Pose, draw_arms, draw_body
from storyjax.storyworld.draw.personal_objects import personal_object_sprite
from storyjax.storyworld.draw.scenery import MARGIN
from storyjax.storyworld.draw.sprites import Box, Sprite, background, rimmed
from storyjax.storyworld.render.render import paste
from storyjax.storyworld.render.sounds import laughter, music, room
from storyjax.storyworld.render.speech import RATE, openness, speak
from storyjax.storyworld.story.episodes import Episode, EpisodeShot, Figure, PlacedThing
from storyjax.storyworld.story.population import EVERYONE

FPS = 25
SIZE = 128
_LEVELS = 6  # how many widths a mouth opens to
_MOUTH = (130, 20, 30)
_BLINK_EVERY, _BLINK = 3.1, 0.14  # seconds


@lru_cache(maxsize=400)
def _figure(figure: Figure, mouth: int, blinks: bool, size: int) -> Sprite:
    """Somebody with the mouth open so far: 0 (closed) to _LEVELS, -1 for the face of somebody silent."""
    pose = Pose(
        back=figure.hands[0],
        front=figure.hands[1],
        mouth="smile" if mouth < 0 else "flat",
        eyes="closed" if blinks else figure.eyes,
    )
    unit = figure.unit * size
    canvas = Canvas((size, size), unit, (figure.x * size, figure.y * size), supersample=3)
    with canvas.at(0.0, 0.0, turn=figure.turn, mirror=figure.mirror), canvas.at(0.0, -HEAD):
        draw_body(canvas, EVERYONE[figure.name], pose)
        if mouth > 0:
            with canvas.at(0.0, HEAD):
                canvas.oval(0.01, -0.11, 0.075, 0.015 + 0.06 * mouth / _LEVELS, _MOUTH)
        draw_arms(canvas, EVERYONE[figure.name], pose)
    return rimmed(canvas.picture(), {})


@lru_cache(maxsize=400)
def _thing(placed: PlacedThing, size: int) -> tuple[Sprite, int, int]:
    """A thing, and where its upper left corner is in the image."""
    sprite = personal_object_sprite(placed.thing, round(placed.width * size), placed.mirror)
    width, height = sprite.size
    return sprite, round(placed.x * size - width / 2), round(placed.foot * size) - height


def shot_boxes(shot: EpisodeShot, size: int = SIZE) -> tuple[list[Box], list[Box]]:
    """Returns where the people and the things of a shot are, as far as they are in the image: left, top, right and
    bottom as fractions.

    A box holds from the first to the last image of the shot: only the place behind them moves, and who speaks nods by
    a hundredth of the image's height.
    """
    people = [_extent(_figure(figure, -1, False, size), 0, 0, size) for figure in shot.figures]
    return people, [_extent(*_thing(placed, size), size) for placed in shot.things]


def _extent(sprite: Sprite, left: int, top: int, size: int) -> Box:
    solid = sprite.clear[..., 0] < 128
    columns, rows = np.flatnonzero(solid.any(axis=0)) + left, np.flatnonzero(solid.any(axis=1)) + top
    edges = np.clip([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], 0, size) / size
    x0, y0, x1, y1 = edges.tolist()
    return x0, y0, x1, y1


def _mouths(episode: Episode) -> dict[str, Float32[np.ndarray, " t"]]:
    """How far the mouth of everybody is open at every frame: -1 where they are silent."""
    frames = frame_count(episode)
    mouths: dict[str, np.ndarray] = {}
    for line in episode.lines:
        track = mouths.setdefault(line.speaker, np.full(frames, -1.0, np.float32))
        first = round(line.start * FPS)
        opened = openness(speak(line.voice, line.saying), FPS)[: frames - first]
        track[first : first + len(opened)] = np.maximum(track[first : first + len(opened)], opened)
    return mouths


def frame_count(episode: Episode) -> int:
    """Returns how many frames an episode has."""
    return round(episode.duration * FPS)


def episode_frames(
    episode: Episode, numbers: Sequence[int] | None = None, size: int = SIZE
) -> Iterator[UInt8[np.ndarray, "y x 3"]]:
    """Yields the images of an episode: those of the given numbers (25 a second), or all."""
    mouths = _mouths(episode)
    starts = [shot.start for shot in episode.shots]
    for number in range(frame_count(episode)) if numbers is None else numbers:
        seconds = number / FPS
        shot = episode.shots[max(0, bisect_right(starts, seconds + 1e-6) - 1)]
        yield _picture(shot, number, seconds, mouths, size, episode.seed)


def _picture(shot: EpisodeShot, number: int, seconds: float, mouths, size: int, seed: int) -> np.ndarray:
    scene = background(shot.place, False, size)
    margin = round(MARGIN * size)
    gone = (seconds - shot.start) / max(shot.end - shot.start, 1e-6) - 0.5
    left, top = (margin + round(float(np.clip(way * gone * size, -margin, margin))) for way in shot.pan)
    frame = scene[top : top + size, left : left + size].copy()
    for figure in shot.figures:
        opened = float(mouths[figure.name][number]) if figure.name in mouths else -1.0
        nod = 0
        if opened >= 0:
            nod = round(0.008 * size * np.sin(2 * np.pi * 1.3 * seconds))
        elif figure.chews:
            opened = 0.5 + 0.5 * float(np.sin(2 * np.pi * figure.chews * seconds + 10 * figure.x))
        level = round(opened * _LEVELS) if opened >= 0 else -1
        blinks = (seconds + 7 * figure.y) % _BLINK_EVERY < _BLINK
        paste(frame, _figure(figure, level, blinks, size), 0, nod)
    for placed in shot.things:
        paste(frame, *_thing(placed, size))
    ticket = (number * 2654435761 + seed * 40503) & 0xFFFFFFFF
    dx, dy = (ticket >> 8) % 64, (ticket >> 18) % 64
    lit = (frame.astype(np.int16) * np.int16(round(shot.light * 64))) >> 6
    lit += _noise(size)[dy : dy + size, dx : dx + size]
    return np.clip(lit, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _noise(size: int) -> Int16[np.ndarray, "y x 3"]:
    return np.round(np.random.default_rng(0x402).normal(0, 1.5, (size + 64, size + 64, 3))).astype(np.int16)


def episode_sound(episode: Episode) -> Float32[np.ndarray, " n"]:
    """Returns all that is heard, at 16 kHz."""
    n = round(episode.duration * RATE)
    wave = room(n, np.random.default_rng([episode.seed, 0x50]))
    for line in episode.lines:
        _add(wave, line.start, line.gain * speak(line.voice, line.saying))
    for make, noises in ((laughter, episode.laughs), (music, episode.music)):
        for noise in noises:
            made = make(noise.end - noise.start, np.random.default_rng(noise.seed))
            _add(wave, noise.start, made * (noise.loudness / 0.1))
    return np.clip(wave, -1, 1)


def _add(wave: np.ndarray, start: float, sound: np.ndarray) -> None:
    first = round(start * RATE)
    part = sound[: max(0, len(wave) - first)]
    wave[first : first + len(part)] += part


def write_episode_video(episode: Episode, path: str | Path, size: int = SIZE) -> None:
    """Writes an episode as mp4 (H.264, AAC); it appears whole or not at all."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_video(episode_frames(episode, size=size), episode_sound(episode), partial, size)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_video(
    frames: Iterator[UInt8[np.ndarray, "y x 3"]], wave: Float32[np.ndarray, " n"], path: Path, size: int
) -> None:
    """Square images, 25 a second, and sound at 16 kHz, as mp4, straight to `path`."""
    options = {"preset": "veryfast", "crf": "22", "g": str(2 * FPS), "x264-params": "no-mbtree=1"}
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.time_base = Fraction(1, FPS)
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        audio.bit_rate = 64_000
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
            if number % FPS == 0:  # a second of sound for a second of images, so that players need not search
                _mux_sound(container, audio, wave, number // FPS)
        container.mux(video.encode())
        for second in range(number // FPS + 1, -(-len(wave) // RATE)):
            _mux_sound(container, audio, wave, second)
        container.mux(audio.encode())


def _mux_sound(container, stream, wave: np.ndarray, second: int) -> None:
    part = wave[second * RATE : (second + 1) * RATE]
    if not len(part):
        return
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part, np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, second * RATE
    container.mux(stream.encode(frame))
