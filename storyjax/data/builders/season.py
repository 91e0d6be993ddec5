"""The episodes of a show with notes of who does what, for the protocol of thesis §4.7.2.

    episodes/NAME.mp4 (.mkv, .avi)          the episodes
    occurrences.csv                         episode,start,end,actor,action    in seconds
    faces/Name_Surname/*.jpg                photos to ask with

The authors' own notes of Seinfeld are not public; this layout is ours. `starts` and `ends` are texts.
"""

from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.celebrities import phrase, read_faces
from storyjax.data.builders.media import MediaBuilder, MediaListing, read_table
from storyjax.data.builders.tables import finite
from storyjax.data.builders.vggface import readable

COLUMNS = ("episode", "start", "end", "actor", "action")
_SUFFIXES = (".mp4", ".mkv", ".avi")
_GET = (
    "put the episodes into episodes/ and notes of who does what into occurrences.csv, as described in"
    " storyjax/data/builders/season.py"
)


def read_season(root: Path, split: str) -> MediaListing:
    """Returns the episodes with all that is noted of them, or ("faces") the photos to ask with."""
    table = root / "occurrences.csv"
    if not table.exists():
        raise StoryjaxError(f"there is no season in {root} (occurrences.csv is missing): {_GET}")
    if split == "faces":
        return read_faces(root, actors=[], actions=[], starts=[], ends=[])
    listing = MediaListing(root=root)
    episodes: dict[str, dict[str, list[str]]] = {}
    for path in sorted((root / "episodes").glob("*")):
        if path.suffix in _SUFFIXES:
            episodes[path.name] = {"actors": [], "actions": [], "starts": [], "ends": []}
    names = {Path(name).stem: name for name in episodes}
    for line, row in read_table(table, COLUMNS):
        where = f"{table.name} line {line}"
        start, end = finite(row["start"]), finite(row["end"])
        if start is None or end is None or end < start:
            listing.broken.append(f"{where}: '{row['start']}' to '{row['end']}' is not a time span in seconds")
        elif row["episode"] not in names:
            listing.broken.append(f"{where}: there is no episode '{row['episode']}'")
        else:
            found = episodes[names[row["episode"]]]
            new = (readable(row["actor"]), phrase(row["action"]), str(start), str(end))
            for key, value in zip(("actors", "actions", "starts", "ends"), new, strict=True):
                found[key].append(value)
    for name, found in episodes.items():
        if not listing.add(root / "episodes" / name, name, celebrity="", **found):
            listing.lost_labels += len(found["actors"])
    return listing


class Season(MediaBuilder):
    """Episodes: the i-th of `actors` does the i-th of `actions` from `starts` to `ends` (seconds, as texts)."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _GET
    TITLE, SPLITS, TEXTS = "the season", ("episodes", "faces"), ("celebrity",)
    LISTS = ("actors", "actions", "starts", "ends")
    read = staticmethod(read_season)
