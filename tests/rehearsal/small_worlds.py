"""StoryWorlds of a few videos in the official layouts, in the folders that the paper variants of the configs read."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from storyjax.storyworld.export import long_videos, nextqa, tracks_mot, tracks_pictures
from storyjax.storyworld.story import tracks

_MOT = {"train": 2, "held_out": 1, "unseen": 0}
_STYLE = functools.partial(tracks.TrackStyle, frames=(6, 8))
WORLDS: dict[str, Callable[[Path], Path]] = {
    "nextqa": functools.partial(nextqa.export_nextqa, counts={"train": 4, "val": 1}, size=32, fps=2, progress=False),
    "yttemporal": functools.partial(long_videos.export_yttemporal, counts={"train": 8, "val": 4}, fps=2),
    "egoschema": functools.partial(long_videos.export_egoschema, counts={"train": 3, "test": 4}, fps=2),
    "ego4d": functools.partial(long_videos.export_ego4d, counts={"train": 3, "val": 1}, fps=2),
    "msrvtt": functools.partial(long_videos.export_msrvtt, counts={"train": 4, "test": 2}, fps=2),
    "kinetics400": functools.partial(long_videos.export_kinetics, counts={"train": 8, "val": 4}, fps=2),
    "countix": functools.partial(long_videos.export_countix, counts={"train": 1, "val": 2}, fps=2),
    "coco": functools.partial(tracks_pictures.export_coco, counts={"train": 8, "val": 4}),
    "crowdhuman": functools.partial(tracks_pictures.export_crowdhuman, counts={"train": 8, "val": 2}),
    "MOT17": functools.partial(tracks_mot.export_mot17, counts=_MOT),
    "MOT20": functools.partial(tracks_mot.export_mot20, counts=_MOT),
    "GMOT40": functools.partial(tracks_mot.export_gmot, counts={"test": 1}),
    "TAO": functools.partial(tracks_pictures.export_tao, counts={"train": 5, "validation": 1}),
}


def write(folder: Path, names: tuple[str, ...]) -> None:
    """Writes worlds of WORLDS into FOLDER/data.

    "ego4d" has its narrations too, as the official folder, which is data/ego4d/v2.
    """
    data = folder / "data"
    short = [mock.patch.object(module, "TrackStyle", _STYLE) for module in (tracks_mot, tracks_pictures)]
    with mock.patch.object(long_videos, "SIZE", 32), short[0], short[1]:
        for name in names:
            WORLDS[name](data / name)
    if "ego4d" in names:
        shutil.copytree(data / "egoschema" / "full_scale", data / "ego4d" / "full_scale", dirs_exist_ok=True)
        for file in ("annotations/narration.json", "uid_to_ego4d.json"):
            shutil.copy(data / "egoschema" / file, data / "ego4d" / file)
        (data / "ego4d").rename(data / "v2")
        (data / "ego4d").mkdir()
        (data / "v2").rename(data / "ego4d" / "v2")
    if "TAO" in names:
        for detector in ("tao_person", "tao_maskrcnn"):
            _detect(data / "TAO" / "frames", data / "detections" / detector)


def _detect(frames: Path, out: Path) -> None:
    """Writes a box in every frame of every video as another detector's."""
    for video in sorted({image.parent for image in frames.rglob("*.jpg")}):
        rows = [f"{number},-1,40,30,25,30,0.9" for number in range(1, len(list(video.iterdir())) + 1)]
        file = (out / video.relative_to(frames)).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(rows) + "\n")
