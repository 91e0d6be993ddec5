"""Celebrities in Places and Celebrities in Action: somebody, somewhere, doing something (thesis §4.4, §4.5).

Both are published with files of which no fixed format is documented; these are the readings taken here.

Celebrities in Places (Zhong et al. 2016), images:

    annotations.csv                     image,celebrity,place,seen    seen: 1 if VGGFace has the person, 0 if not
                                        a distractor has no celebrity and no place
    images/…                            the images that `image` names, below this folder
    queries.csv                         celebrity,place: the compound queries; without it all pairs that occur
    faces/Name_Surname/*.jpg            photos of the celebrities to ask with, none of them among the images

Celebrities in Action (thesis Ch. 4), clips of Hollywood2 (Marszałek et al. 2009) and High-Five (Patron-Perez et al.
2010), both in their official layout, and who is in them:

    annotations.csv                     clip,split,actor,action,scene    split: train, val or test; a line for each
                                        person and action of a clip; an empty action or scene is looked up in ClipSets
    Hollywood2/AVIClips/CLIP.avi, Hollywood2/AVIClipsScenes/CLIP.avi
    Hollywood2/ClipSets/CLASS_train.txt, CLASS_autotrain.txt, CLASS_test.txt    lines "CLIP 1" or "CLIP -1"
    tv_human_interactions_videos/CLIP.avi                                      High-Five
    faces/Name_Surname/*.jpg            photos of the actors to ask with

A record of the split "faces" is a photo of `celebrity`.
"""

from pathlib import Path

from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaBuilder, MediaListing, read_table
from storyjax.data.builders.prepared import unusable_file
from storyjax.data.builders.vggface import readable

PLACES_COLUMNS = ("image", "celebrity", "place", "seen")
ACTION_COLUMNS = ("clip", "split", "actor", "action", "scene")
HIGH_FIVE_FOLDER = "tv_human_interactions_videos"
_CLIP_FOLDERS = ("Hollywood2/AVIClips", "Hollywood2/AVIClipsScenes", HIGH_FIVE_FOLDER)
_SUFFIXES = (".avi", ".mp4", ".mkv")

# How a class of Hollywood2, High-Five or Places reads in a sentence; others read as they are written.
PHRASES = {
    "AnswerPhone": "answering the phone",
    "DriveCar": "driving a car",
    "Eat": "eating",
    "FightPerson": "fighting somebody",
    "GetOutCar": "getting out of a car",
    "HandShake": "shaking hands",
    "handShake": "shaking hands",
    "HugPerson": "hugging somebody",
    "hug": "hugging somebody",
    "Kiss": "kissing somebody",
    "kiss": "kissing somebody",
    "highFive": "giving a high five",
    "Run": "running",
    "SitDown": "sitting down",
    "SitUp": "sitting up",
    "StandUp": "standing up",
    "EXT-House": "front of a house",
    "EXT-Road": "road",
    "INT-Bedroom": "bedroom",
    "INT-Car": "car",
    "INT-Hotel": "hotel",
    "INT-Kitchen": "kitchen",
    "INT-LivingRoom": "living room",
    "INT-Office": "office",
    "INT-Restaurant": "restaurant",
    "INT-Shop": "shop",
}
_SCENE_MARKS = ("EXT-", "INT-", "PLACE-")

_GET_CIP = (
    "get Celebrities in Places (Visual Geometry Group, Oxford) and lay it out as described in"
    " storyjax/data/builders/celebrities.py"
)
_GET_CIA = (
    "get Hollywood2 and High-Five (TV human interactions), and the annotations of Celebrities in Action (Visual"
    " Geometry Group, Oxford), and lay them out as described in storyjax/data/builders/celebrities.py"
)


def phrase(name: str) -> str:
    """Returns a class as it reads in a sentence: "GetOutCar" as "getting out of a car"."""
    return PHRASES.get(name, name.removeprefix("PLACE-").replace("_", " "))


def read_faces(root: Path, **more: str | list[str]) -> MediaListing:
    """Returns the photos to ask with, in faces/NAME; `more` are the labels that other splits have."""
    listing, folder = MediaListing(root=root), root / "faces"
    if not folder.is_dir():
        raise StoryjaxError(f"{root} has no folder faces: put photos of each celebrity into faces/NAME/")
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        for photo in sorted(person.glob("*.jpg")):
            listing.add(photo, photo.name, celebrity=readable(person.name), **more)
    return listing


def read_places(root: Path, split: str) -> MediaListing:
    """Celebrities in Places: "test", the annotated images and the distractors, or "faces"."""
    table = root / "annotations.csv"
    if not table.exists():
        raise StoryjaxError(f"Celebrities in Places is not in {root} (annotations.csv is missing): {_GET_CIP}")
    if split == "faces":
        return read_faces(root, place="", seen="")
    listing = MediaListing(root=root)
    for line, row in read_table(table, PLACES_COLUMNS):
        where = f"{table.name} line {line}"
        if bool(row["celebrity"]) != bool(row["place"]):
            listing.broken.append(f"{where}: a celebrity without a place or a place without a celebrity")
        elif row["celebrity"] and row["seen"] not in ("0", "1"):
            listing.broken.append(f"{where}: seen is '{row['seen']}', not 0 or 1")
        else:
            labels = {"celebrity": readable(row["celebrity"]), "place": phrase(row["place"]), "seen": row["seen"]}
            listing.add(root / "images" / row["image"], where, **labels)
    return listing


def read_place_queries(root: str | Path) -> list[tuple[str, str]] | None:
    """Returns the compound queries of Celebrities in Places, (celebrity, place); None without such a file."""
    table = place(root) / "queries.csv"
    if not table.exists():
        return None
    return [(readable(row["celebrity"]), phrase(row["place"])) for _, row in read_table(table, ("celebrity", "place"))]


def read_actions(root: Path, split: str) -> MediaListing:
    """Celebrities in Action: the clips of a split with who does what in them (equally long lists), and where."""
    table = root / "annotations.csv"
    if not table.exists():
        raise StoryjaxError(f"Celebrities in Action is not in {root} (annotations.csv is missing): {_GET_CIA}")
    if split == "faces":
        return read_faces(root, actors=[], actions=[], scene="")
    actions, scenes = _clip_sets(root / "Hollywood2" / "ClipSets")
    clips: dict[str, dict] = {}
    listing = MediaListing(root=root)
    for line, row in read_table(table, ACTION_COLUMNS):
        clip, where = row["clip"], f"{table.name} line {line}"
        if row["split"] not in ("train", "val", "test"):
            listing.broken.append(f"{where}: there is no split '{row['split']}', only train, val, test")
            continue
        if row["split"] != split:
            continue
        if not clip or not row["actor"]:
            listing.broken.append(f"{where}: {'clip' if not clip else 'actor'} is empty")
            continue
        found = clips.setdefault(clip, {"actors": [], "actions": [], "scene": "", "where": where})
        for action in [row["action"]] if row["action"] else actions.get(clip, [""]):
            found["actors"].append(readable(row["actor"]))
            found["actions"].append(phrase(action))
        found["scene"] = phrase(row["scene"] or scenes.get(clip, "")) or found["scene"]
    for clip, found in clips.items():
        candidates = [root / f / f"{clip}{suffix}" for f in _CLIP_FOLDERS for suffix in _SUFFIXES]
        path = next((candidate for candidate in candidates if not unusable_file(candidate)), candidates[0])
        where = found.pop("where")
        if not listing.add(path, where, celebrity="", **found):
            listing.lost_labels += len(found["actors"]) - 1
    return listing


def _clip_sets(folder: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Of every clip that Hollywood2's own lists name: its actions, and its scene."""
    actions: dict[str, list[str]] = {}
    scenes: dict[str, str] = {}
    for table in sorted(folder.glob("*_*.txt")) if folder.is_dir() else ():
        name = table.stem.rpartition("_")[0]
        if name in ("actions", "scenes"):  # lists of all clips
            continue
        try:
            lines = table.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StoryjaxError(f"{table} cannot be read ({error}): download it again") from error
        for number, line in enumerate(lines, 1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != 2 or parts[1] not in ("1", "-1"):
                raise StoryjaxError(f"{table} line {number} is not 'CLIP 1' or 'CLIP -1': download it again")
            if parts[1] == "1" and name.startswith(_SCENE_MARKS):
                scenes[parts[0]] = name
            elif parts[1] == "1":
                actions.setdefault(parts[0], []).append(name)
    return actions, scenes


class CelebritiesInPlaces(MediaBuilder):
    """Celebrities in Places; `seen` is "1", "0" or, of distractors and photos to ask with, empty."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _GET_CIP
    TITLE, SPLITS, TEXTS = "Celebrities in Places", ("test", "faces"), ("celebrity", "place", "seen")
    read = staticmethod(read_places)


class CelebritiesInAction(MediaBuilder):
    """Celebrities in Action; the i-th of `actors` does the i-th of `actions` in `scene`; unknown ones are empty."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = _GET_CIA
    TITLE, SPLITS = "Celebrities in Action", ("train", "val", "test", "faces")
    TEXTS, LISTS = ("celebrity", "scene"), ("actors", "actions")
    read = staticmethod(read_actions)
