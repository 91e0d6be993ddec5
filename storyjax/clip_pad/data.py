"""What CLIP-PAD learns from and is asked: queries by name, by face and by both (§4.3, §4.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import decode_image
from storyjax.data.text import Tokenizer, encode_spliced
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.train.experiment import Batch

MARKER = "*TOK*"
# How a person is asked for: by the name, by the face, by both.
MODES = ("text", "face", "text_face")
FACE, WORD = 0, 1  # slots of a training query
PERFORMERS = 4  # people of one clip that are looked at; further ones are left out
_NOBODY, _ANY = -2, -1

# §4.4 gives three forms; photographs take the first line, as CLIP's own zero-shot protocol does.
PERSON = "an image of {who}"
ACTION = "{who} is {action}"
PLACE = "{who} in the {place}"
ACTION_PLACE = "{who} in the {place} {action}"


@dataclass(frozen=True)
class Sizes:
    """What a batch holds.

    Attributes:
        clip, face: sides of the pictures that CLIP and the face encoder take, in pixels.
        frames: of a clip.
        text_length: tokens of a query.
        face_crop: the middle share of a loose crop that the face encoder looks at; VGGFace2's networks were published
            for the middle 224 of 256 pixels.
        query_photos: photos of a person that make one query.
        ending: what every query ends with, as the sentences did from which CLIP learnt.
    """

    clip: int
    face: int
    frames: int = 4
    text_length: int = 77
    face_crop: float = 1.0
    query_photos: int = 1
    ending: str = ""


def who(name: str, mode: str) -> str:
    """A person's place in a query: the name, the face's marker, or both (§4.3: "Tom Cruise *TOK*")."""
    return {"text": name, "face": MARKER, "text_face": f"{name} {MARKER}"}[mode]


def encode(tokenizer: Tokenizer, prompt: str, sizes: Sizes) -> tuple[Int32[np.ndarray, " l"], Int32[np.ndarray, " l"]]:
    """Ids and slots of a query with MARKER where a face stands."""
    return encode_spliced(tokenizer, prompt.rstrip(" .") + sizes.ending, sizes.text_length, MARKER)


def encode_example(
    tokenizer: Tokenizer, form: str, name: str, mode: str, unknown_name: bool, sizes: Sizes, **words: str
) -> tuple[Int32[np.ndarray, " l"], Int32[np.ndarray, " l"]]:
    """Ids and slots of a training query: slot FACE is the face; with `unknown_name`, slot WORD takes the name's place.

    Args:
        form: with {who} for the person, and a place for each of `words`.
        unknown_name: whether a word that nothing is known of stands for the name (losses.py draws it).
    """
    person = f"{MARKER} {MARKER}" if unknown_name else who(name, mode)
    ids, slots = encode(tokenizer, form.format(who=person, **words), sizes)
    # Markers are numbered from the left, where the name stands.
    return ids, np.where(slots >= 0, WORD - slots, slots) if unknown_name else slots


def draw_mode(mix: Sequence[float], rng: np.random.Generator) -> str:
    """60 % of queries hold the image token, 20 % the name, the rest both (`mix`: face, text, both)."""
    shares = np.asarray(mix, np.float64) / sum(mix)
    return ("face", "text", "text_face")[int(rng.choice(3, p=shares))]


def draw_unknown(mode: str, share: float, rng: np.random.Generator) -> bool:
    """Whether the name of a query is one that nobody has told the model of: `share` of those by name and face."""
    return mode == "text_face" and share > 0 and bool(rng.random() < share)


def resize(image: UInt8[np.ndarray, "y x 3"], size: int, crop: float = 1.0) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """The middle share of an image as a square; like frames of videos, it does not keep its aspect ratio."""
    height, width = image.shape[:2]
    box = ((1 - crop) / 2 * width, (1 - crop) / 2 * height, (1 + crop) / 2 * width, (1 + crop) / 2 * height)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))


def read_photo(record: Mapping[str, Any]) -> UInt8[np.ndarray, "y x 3"]:
    """The photo of a record, cut to its loose crop where the data set does not cut it itself."""
    image = decode_image(record["media"], record["path"])
    if not record.get("crop"):
        return image
    left, top, right, bottom = (round(float(number)) for number in record["crop"].split())
    height, width = image.shape[:2]
    left, right = (int(np.clip(v, 0, width)) for v in (left, right))
    top, bottom = (int(np.clip(v, 0, height)) for v in (top, bottom))
    return image[top:bottom, left:right] if right - left > 1 and bottom - top > 1 else image


def read_clip(record: Mapping[str, Any], frames: int, size: int, rng: np.random.Generator | None) -> np.ndarray:
    """Frames (t, y, x, 3) of a record's clip, spread evenly, jittered where there is a generator."""
    times = sample_times(probe(record["media"], record["path"]).duration_s, frames, rng)
    return decode_frames(record["media"], times, size, record["path"])[0]


class People:
    """A data set of photographs, by person: which are to learn from, and which (`val` of each) to validate on."""

    def __init__(self, source: MediaSource, val: int):
        self.source = source
        self.names: list[str] = []
        self.person: list[int] = []
        number: dict[str, int] = {}
        photos: dict[int, list[int]] = {}
        for record, labels in enumerate(source.labels):
            identity = labels["identity"]
            if identity not in number:
                number[identity] = len(self.names)
                self.names.append(labels["name"].lower())
            photos.setdefault(number[identity], []).append(record)
            self.person.append(number[identity])
        self.val = [record for group in photos.values() for record in group[len(group) - min(val, len(group) // 2) :]]
        held_out = set(self.val)
        self.photos = {person: [r for r in group if r not in held_out] for person, group in photos.items()}
        self.train = [record for group in self.photos.values() for record in group]

    def read(self, record: int) -> UInt8[np.ndarray, "y x 3"]:
        return read_photo(self.source[record])

    def photos_of(self, person: int, count: int, rng: np.random.Generator | None, but: int = -1) -> list[int]:
        """`count` of a person's photos to learn from (fewer where there are no more), not `but`."""
        others = [record for record in self.photos[person] if record != but] or self.photos[person]
        order = np.arange(len(others)) if rng is None else rng.permutation(len(others))
        return [others[i] for i in order[:count]]


class Albums:
    """The photos to ask with, by lower-case name (the split "faces" of the celebrities' data sets)."""

    def __init__(self, source: MediaSource):
        self.source = source
        self.photos: dict[str, list[int]] = {}
        for record, labels in enumerate(source.labels):
            self.photos.setdefault(labels["celebrity"].lower(), []).append(record)

    def read(self, record: int) -> UInt8[np.ndarray, "y x 3"]:
        return read_photo(self.source[record])

    def photos_of(self, name: str, count: int, rng: np.random.Generator | None) -> list[int]:
        photos = self.photos[name]
        order = np.arange(len(photos)) if rng is None else rng.permutation(len(photos))
        return [photos[i] for i in order[:count]]


@dataclass(frozen=True)
class Query:
    """A question for somebody: the person's lower-case name, a template, and how the person is given.

    Attributes:
        person: whose face is spliced in; "" for questions about nobody in particular.
        prompt: with MARKER where the face stands.
    """

    person: str
    prompt: str


class Faces:
    """Loads the photos of queries: (k, y, x, 3) and which of the k are there."""

    def __init__(self, sizes: Sizes):
        self.sizes = sizes

    def __call__(self, images: Sequence[np.ndarray]) -> Batch:
        side, k = self.sizes.face, self.sizes.query_photos
        faces = np.zeros((k, side, side, 3), np.uint8)
        for row, image in enumerate(images[:k]):
            faces[row] = resize(image, side, self.sizes.face_crop)
        return {"faces": faces, "face_valid": np.arange(k) < len(images)}


@dataclass(frozen=True)
class Seen:
    """What the frozen networks saw of a training set: embeddings of clips (or photos) and of faces by record number;
    an error stands for a record that is broken."""

    clips: Mapping[int, np.ndarray | StoryjaxError]
    faces: Mapping[int, np.ndarray | StoryjaxError]

    def __call__(self, record: int, photos: Sequence[int], count: int) -> Batch:
        """The record's embedding, and the descriptions of `count` photos and which of them are there.

        Raises StoryjaxError where one of them is broken.
        """
        described = [_whole(self.faces[photo]) for photo in photos[:count]]
        filled = np.zeros((count, len(described[0])), np.float32)
        filled[: len(described)] = described
        return {
            "clips": _whole(self.clips[record]),
            "descriptions": filled,
            "face_valid": np.arange(count) < len(described),
        }


def _whole(value: np.ndarray | StoryjaxError) -> np.ndarray:
    if isinstance(value, StoryjaxError):
        raise value
    return value


class PhotoLoader:
    """A record number of `People` to a training example: the photo, and a query by name, another photo, or both."""

    def __init__(
        self,
        people: People,
        sizes: Sizes,
        tokenizer: Tokenizer,
        mix: Sequence[float],
        seen: Seen | None = None,
        unknown_names: float = 0.0,
    ):
        self.people, self.sizes, self.tokenizer, self.mix, self.seen = people, sizes, tokenizer, mix, seen
        self.faces, self.unknown_names = Faces(sizes), unknown_names

    def __call__(self, record: int, rng: np.random.Generator) -> Batch:
        person = self.people.person[record]
        mode = draw_mode(self.mix, rng)
        photos = self.people.photos_of(person, self.sizes.query_photos, rng, but=record)
        unknown = draw_unknown(mode, self.unknown_names, rng)
        ids, slots = encode_example(self.tokenizer, PERSON, self.people.names[person], mode, unknown, self.sizes)
        facts = np.full((PERFORMERS, 2), _NOBODY, np.int32)
        facts[0] = (person, _NOBODY)
        if self.seen is None:
            # A photo is a clip of one frame.
            looks = {
                "frames": resize(self.people.read(record), self.sizes.clip)[None],
                **self.faces([self.people.read(photo) for photo in photos]),
            }
        else:
            looks = self.seen(record, photos, self.sizes.query_photos)
        return {
            **looks,
            "ids": ids,
            "slots": slots,
            "query_facts": np.array([person, _ANY], np.int32),
            "query_place": np.int32(_ANY),
            "facts": facts,
            "place": np.int32(_ANY),
        }


class ClipIndex:
    """What is known of a split of Celebrities in Action, with numbers for names: actors, actions, places."""

    def __init__(self, source: MediaSource, albums: Albums):
        self.source = source
        labels = source.labels
        self.actors = sorted({actor.lower() for row in labels for actor in row["actors"]} & set(albums.photos))
        self.actions = sorted({action for row in labels for action in row["actions"] if action})
        self.places = sorted({row["scene"] for row in labels if row["scene"]})
        self.pairs = [self._pairs(row) for row in labels]
        self.place = [self.places.index(row["scene"]) if row["scene"] else _NOBODY for row in labels]
        self.usable = [record for record, pairs in enumerate(self.pairs) if pairs]

    def _pairs(self, row: Mapping[str, Any]) -> list[tuple[int, int]]:
        """(actor, action) of a clip; only of actors of whom there are photos to ask with."""
        return [
            (self.actors.index(actor.lower()), self.actions.index(action) if action else _NOBODY)
            for actor, action in zip(row["actors"], row["actions"], strict=True)
            if actor.lower() in self.actors
        ][:PERFORMERS]

    def facts(self, record: int) -> Int32[np.ndarray, "p 2"]:
        facts = np.full((PERFORMERS, 2), _NOBODY, np.int32)
        for row, pair in enumerate(self.pairs[record]):
            facts[row] = pair
        return facts


class ClipLoader:
    """A record number of Celebrities in Action to a training example: the clip, and a query that it answers."""

    def __init__(
        self,
        index: ClipIndex,
        albums: Albums,
        sizes: Sizes,
        tokenizer: Tokenizer,
        mix: Sequence[float],
        seen: Seen | None = None,
        unknown_names: float = 0.0,
    ):
        self.index, self.albums, self.sizes, self.tokenizer, self.mix = index, albums, sizes, tokenizer, mix
        self.faces, self.seen, self.unknown_names = Faces(sizes), seen, unknown_names

    def __call__(self, record: int, rng: np.random.Generator) -> Batch:
        actor, action = self.index.pairs[record][int(rng.integers(len(self.index.pairs[record])))]
        place = self.index.place[record]
        forms = [form for form, there in self._forms(action, place).items() if there]
        form = forms[int(rng.integers(len(forms)))]
        asks_action, asks_place = "{action}" in form, "{place}" in form
        name = self.index.actors[actor]
        mode = draw_mode(self.mix, rng)
        ids, slots = encode_example(
            self.tokenizer,
            form,
            name,
            mode,
            draw_unknown(mode, self.unknown_names, rng),
            self.sizes,
            action=self.index.actions[action] if asks_action else "",
            place=self.index.places[place] if asks_place else "",
        )
        photos = self.albums.photos_of(name, self.sizes.query_photos, rng)
        if self.seen is None:
            looks = {
                "frames": read_clip(self.index.source[record], self.sizes.frames, self.sizes.clip, rng),
                **self.faces([self.albums.read(photo) for photo in photos]),
            }
        else:
            looks = self.seen(record, photos, self.sizes.query_photos)
        return {
            **looks,
            "ids": ids,
            "slots": slots,
            "query_facts": np.array([actor, action if asks_action else _ANY], np.int32),
            "query_place": np.int32(place if asks_place else _ANY),
            "facts": self.index.facts(record),
            "place": np.int32(place),
        }

    @staticmethod
    def _forms(action: int, place: int) -> dict[str, bool]:
        """The forms of §4.4, and whether what is known of a clip is enough for each."""
        acts, stands = action >= 0, place >= 0
        return {PERSON: not (acts or stands), ACTION: acts, PLACE: stands, ACTION_PLACE: acts and stands}
