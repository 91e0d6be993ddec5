"""A season of a show: episodes whose whole cast nobody has seen before, for the protocol of thesis §4.7.2.

    episodes/01.mp4 ...                     the episodes
    occurrences.csv                         episode,start,end,actor,action    all that anybody does, in seconds
    faces/NAME/*.jpg                        photos of the cast to ask with
    cast/                                   photos of the cast to fine-tune on, in VGGFace2's layout

The thesis's own notes of Seinfeld's second season are not public; this layout is ours.
"""

from collections.abc import Mapping
from pathlib import Path

from storyjax.storyworld.export.celebrities import class_name, looks, write_query_faces, write_table, write_vggface2
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.world import make_folder, render_missing
from storyjax.storyworld.story.story import StoryStyle, make_story

CAST = ("ivy", "sam", "lily", "noah")
_FIRST_SEED = 40_000_000


def export_season(directory: str | Path, episodes: int = 40, photos: int = 60, faces: int = 3, seed: int = 0) -> Path:
    """Writes a season; see `storyjax.storyworld.export.export_once.export_once`."""
    counts = {"episodes": episodes, "photos": photos, "faces": faces}
    return export_once(
        directory, {"kind": "season", **counts, "seed": seed}, looks(), lambda f: _write(f, counts, seed)
    )


def _write(folder: Path, counts: Mapping[str, int], seed: int) -> None:
    style = StoryStyle(names=CAST)
    make_folder(folder / "episodes")
    first = _FIRST_SEED + 1000 * seed
    seeds = range(first, first + counts["episodes"])
    paths = {s: folder / "episodes" / f"{number:02d}.mp4" for number, s in enumerate(seeds, 1)}
    render_missing(list(paths.items()), style, processes=None)
    rows = []
    for story_seed, path in paths.items():
        for event in make_story(story_seed, style).events:
            for performance in event.performances:
                what = class_name(performance)
                rows.append((path.stem, f"{event.start:.3f}", f"{event.end:.3f}", performance.person, what))
    write_table(folder / "occurrences.csv", ("episode", "start", "end", "actor", "action"), rows)
    write_query_faces(folder, CAST, counts["faces"], seed + 1)
    write_vggface2(folder / "cast", {"train": CAST}, counts["photos"], seed + 1)
