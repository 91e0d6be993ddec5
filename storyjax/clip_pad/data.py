"""CLIP-PAD's training examples and queries: by name, by face and by both (§4.3, §4.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from storyjax.clip_pad.photos import read_face, read_photo
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import Square
from storyjax.data.text import Tokenizer, encode_spliced
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.train.experiment import Batch

MARKER = "*TOK*"
# How a query names a person: by the name, by the face, by both.
MODES = ("text", "face", "text_face")
FACE, WORD = 0, 1  # slots of a training query
PERFORMERS = 4  # people of one clip that count; further ones are left out
_NOBODY, _ANY = -2, -1

# §4.4 gives three forms; photographs take the first line, as CLIP's own zero-shot protocol does.
PERSON = "an image of {who}"
ACTION = "{who} is {action}"
PLACE = "{who} in the {place}"
ACTION_PLACE = "{who} in the {place} {action}"


@dataclass(frozen=True)
class Sizes:
    """Sizes of a batch.

    Attributes:
        clip, face: sides of the images that CLIP and the face encoder take, in pixels.
        frames: of a clip.
        text_length: tokens of a query.
        face_crop: the central fraction of a loose crop that the face encoder gets; VGGFace2's networks were published
            for the central 224 of 256 pixels.
        face_loose: how much the box of a face is enlarged to make its crop (detect.loose_crop), where a data set has
            boxes or a detector finds them; None: a data set's photos are loose crops as they are, as StoryWorld's.
        query_photos: photos of a person that make one query.
        ending: the end of every query, the same as of the sentences that CLIP was trained on.
        clip_aspect, face_aspect: whether the networks take central squares of images, as the published ones do, or
            images without their aspect ratio, as StoryWorld's.
    """

    clip: int
    face: int
    frames: int = 4
    text_length: int = 77
    face_crop: float = 1.0
    face_loose: float | None = None
    query_photos: int = 1
    ending: str = ""
    clip_aspect: bool = True
    face_aspect: bool = True

    def clip_square(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Returns an image as CLIP's image tower takes it."""
        return Square(self.clip, self.clip_aspect)(image)

    def face_square(self, crop: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Returns the central part, `face_crop`, of a loose crop, as the face encoder takes it."""
        if self.face_aspect:
            return Square(self.face, True, max(self.face, round(self.face / self.face_crop)))(crop)
        height, width = crop.shape[:2]
        before, after = (1 - self.face_crop) / 2, (1 + self.face_crop) / 2
        box = (before * width, before * height, after * width, after * height)
        return np.asarray(Image.fromarray(crop).resize((self.face,) * 2, Image.Resampling.BICUBIC, box=box))


def mention(name: str, mode: str) -> str:
    """Returns the words for a person in a query: the name, the face's marker, or both (§4.3: "Tom Cruise *TOK*")."""
    return {"text": name, "face": MARKER, "text_face": f"{name} {MARKER}"}[mode]


def encode(tokenizer: Tokenizer, prompt: str, sizes: Sizes) -> tuple[Int32[np.ndarray, " l"], Int32[np.ndarray, " l"]]:
    """Returns the ids and slots of a query that has MARKER where a face stands; errors as of `encode_spliced`."""
    return encode_spliced(tokenizer, prompt.rstrip(" .") + sizes.ending, sizes.text_length, MARKER)


def encode_example(
    tokenizer: Tokenizer, form: str, name: str, mode: str, unknown_name: bool, sizes: Sizes, **words: str
) -> tuple[Int32[np.ndarray, " l"], Int32[np.ndarray, " l"]]:
    """Returns the ids and slots of a training query: slot FACE is the face; with `unknown_name`, slot WORD is the name.

    Args:
        form: with {who} for the person, and a field for each of `words`.
        unknown_name: whether a random vector stands for the name (losses.py draws it).
    """
    person = f"{MARKER} {MARKER}" if unknown_name else mention(name, mode)
    ids, slots = encode(tokenizer, form.format(who=person, **words), sizes)
    # Markers are numbered from the left, where the name stands.
    return ids, np.where(slots >= 0, WORD - slots, slots) if unknown_name else slots


def draw_mode(mix: Sequence[float], rng: np.random.Generator) -> str:
    """Returns a mode; `mix` are relative frequencies of face, text and both (§4.3.1: 0.6, 0.2, 0.2)."""
    probabilities = np.asarray(mix, np.float64) / sum(mix)
    return ("face", "text", "text_face")[int(rng.choice(3, p=probabilities))]


def draw_unknown_name(mode: str, fraction: float, rng: np.random.Generator) -> bool:
    """Returns whether a random vector stands for the name of a query: for `fraction` of those by name and face."""
    return mode == "text_face" and fraction > 0 and bool(rng.random() < fraction)


def read_clip(record: Mapping[str, Any], sizes: Sizes, rng: np.random.Generator | None) -> np.ndarray:
    """Returns evenly spaced frames (t, y, x, 3) of a record's clip, with jittered times if there is a generator.

    Raises:
        StoryjaxError: the video cannot be decoded.
    """
    times = sample_times(probe(record["media"], record["path"]).duration_s, sizes.frames, rng)
    return decode_frames(record["media"], times, sizes.clip, record["path"], keep_aspect=sizes.clip_aspect)[0]


class People:
    """A data set of photos, by person.

    Attributes:
        names: lower-case, by person number.
        person: person number of each record.
        train, val: record numbers to train and to validate on; `val` photos of each person, at most half.
        photos: record numbers to train on by person number.
    """

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
        """Returns a photo, as `read_photo`."""
        return read_photo(self.source[record])

    def read_face(self, record: int, loose: float | None) -> UInt8[np.ndarray, "y x 3"]:
        """Returns the face of a photo, as `photos.read_face`."""
        return read_face(self.source[record], loose)

    def photos_of(self, person: int, count: int, rng: np.random.Generator | None, but: int = -1) -> list[int]:
        """Returns up to `count` record numbers of a person's training photos, other than `but` if there are others."""
        others = [record for record in self.photos[person] if record != but] or self.photos[person]
        order = np.arange(len(others)) if rng is None else rng.permutation(len(others))
        return [others[i] for i in order[:count]]


class PhotoIndex:
    """The photos that queries are made of, by lower-case name (the split "faces" of the celebrities' data sets)."""

    def __init__(self, source: MediaSource):
        self.source = source
        self.photos: dict[str, list[int]] = {}
        for record, labels in enumerate(source.labels):
            self.photos.setdefault(labels["celebrity"].lower(), []).append(record)

    def read(self, record: int) -> UInt8[np.ndarray, "y x 3"]:
        """Returns a photo, as `read_photo`."""
        return read_photo(self.source[record])

    def photos_of(self, name: str, count: int, rng: np.random.Generator | None) -> list[int]:
        """Returns up to `count` record numbers of a person's photos: the first, or random ones."""
        photos = self.photos[name]
        order = np.arange(len(photos)) if rng is None else rng.permutation(len(photos))
        return [photos[i] for i in order[:count]]


@dataclass(frozen=True)
class Query:
    """A query.

    Attributes:
        person: lower-case name of the person whose face is spliced in; "" for queries about no particular person.
        prompt: with MARKER where the face stands.
    """

    person: str
    prompt: str


class FaceLoader:
    """Resizes and pads the photos of a query; returns "faces" (k, y, x, 3) and "face_valid" (k,)."""

    def __init__(self, sizes: Sizes):
        self.sizes = sizes

    def __call__(self, images: Sequence[np.ndarray]) -> Batch:
        side, k = self.sizes.face, self.sizes.query_photos
        faces = np.zeros((k, side, side, 3), np.uint8)
        for row, image in enumerate(images[:k]):
            faces[row] = self.sizes.face_square(image)
        return {"faces": faces, "face_valid": np.arange(k) < len(images)}


@dataclass(frozen=True)
class CachedFeatures:
    """The frozen networks' embeddings of a training set: of clips (or photos) and of faces, by record number.

    An error stands for a broken record.
    """

    clips: Mapping[int, np.ndarray | StoryjaxError]
    faces: Mapping[int, np.ndarray | StoryjaxError]

    def __call__(self, record: int, photos: Sequence[int], count: int) -> Batch:
        """Returns "clips" (p,) of the record, and "descriptions" (k, e) and "face_valid" (k,) of `count` photos.

        Raises:
            StoryjaxError: one of the records is broken.
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
    """Returns the training example of a record of `People`: the photo, and a query by name, another photo, or both."""

    def __init__(
        self,
        people: People,
        sizes: Sizes,
        tokenizer: Tokenizer,
        mix: Sequence[float],
        cached: CachedFeatures | None = None,
        unknown_names: float = 0.0,
    ):
        self.people, self.sizes, self.tokenizer, self.mix, self.cached = people, sizes, tokenizer, mix, cached
        self.faces, self.unknown_names = FaceLoader(sizes), unknown_names

    def __call__(self, record: int, rng: np.random.Generator) -> Batch:
        person = self.people.person[record]
        mode = draw_mode(self.mix, rng)
        photos = self.people.photos_of(person, self.sizes.query_photos, rng, but=record)
        unknown = draw_unknown_name(mode, self.unknown_names, rng)
        ids, slots = encode_example(self.tokenizer, PERSON, self.people.names[person], mode, unknown, self.sizes)
        facts = np.full((PERFORMERS, 2), _NOBODY, np.int32)
        facts[0] = (person, _NOBODY)
        if self.cached is None:
            # A photo is a clip of one frame.
            inputs = {
                "frames": self.sizes.clip_square(self.people.read(record))[None],
                **self.faces([self.people.read_face(photo, self.sizes.face_loose) for photo in photos]),
            }
        else:
            inputs = self.cached(record, photos, self.sizes.query_photos)
        return {
            **inputs,
            "ids": ids,
            "slots": slots,
            "query_facts": np.array([person, _ANY], np.int32),
            "query_place": np.int32(_ANY),
            "facts": facts,
            "place": np.int32(_ANY),
        }


class ClipIndex:
    """The labels of a split of Celebrities in Action, with numbers for names.

    Attributes:
        actors, actions, places: sorted names; actors are lower-case and have photos to make queries of.
        pairs: (actor, action) numbers of each record's performers.
        place: place number of each record.
        usable: records with at least one performer.
    """

    def __init__(self, source: MediaSource, photos: PhotoIndex):
        self.source = source
        labels = source.labels
        self.actors = sorted({actor.lower() for row in labels for actor in row["actors"]} & set(photos.photos))
        self.actions = sorted({action for row in labels for action in row["actions"] if action})
        self.places = sorted({row["scene"] for row in labels if row["scene"]})
        self.pairs = [self._pairs(row) for row in labels]
        self.place = [self.places.index(row["scene"]) if row["scene"] else _NOBODY for row in labels]
        self.usable = [record for record, pairs in enumerate(self.pairs) if pairs]

    def _pairs(self, row: Mapping[str, Any]) -> list[tuple[int, int]]:
        """(actor, action) of a clip; only of actors that have photos to make queries of."""
        return [
            (self.actors.index(actor.lower()), self.actions.index(action) if action else _NOBODY)
            for actor, action in zip(row["actors"], row["actions"], strict=True)
            if actor.lower() in self.actors
        ][:PERFORMERS]

    def facts(self, record: int) -> Int32[np.ndarray, "p 2"]:
        """Returns (actor, action) of a clip's performers, padded with -2."""
        facts = np.full((PERFORMERS, 2), _NOBODY, np.int32)
        for row, pair in enumerate(self.pairs[record]):
            facts[row] = pair
        return facts


class ClipLoader:
    """Returns the training example of a record of Celebrities in Action: the clip, and a query that it matches."""

    def __init__(
        self,
        index: ClipIndex,
        photos: PhotoIndex,
        sizes: Sizes,
        tokenizer: Tokenizer,
        mix: Sequence[float],
        cached: CachedFeatures | None = None,
        unknown_names: float = 0.0,
    ):
        self.index, self.photos, self.sizes, self.tokenizer, self.mix = index, photos, sizes, tokenizer, mix
        self.faces, self.cached, self.unknown_names = FaceLoader(sizes), cached, unknown_names

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
            draw_unknown_name(mode, self.unknown_names, rng),
            self.sizes,
            action=self.index.actions[action] if asks_action else "",
            place=self.index.places[place] if asks_place else "",
        )
        photos = self.photos.photos_of(name, self.sizes.query_photos, rng)
        if self.cached is None:
            inputs = {
                "frames": read_clip(self.index.source[record], self.sizes, rng),
                **self.faces([self.photos.read(photo) for photo in photos]),
            }
        else:
            inputs = self.cached(record, photos, self.sizes.query_photos)
        return {
            **inputs,
            "ids": ids,
            "slots": slots,
            "query_facts": np.array([actor, action if asks_action else _ANY], np.int32),
            "query_place": np.int32(place if asks_place else _ANY),
            "facts": self.index.facts(record),
            "place": np.int32(place),
        }

    @staticmethod
    def _forms(action: int, place: int) -> dict[str, bool]:
        """The forms of §4.4, and whether a clip's labels are enough for each."""
        has_action, has_place = action >= 0, place >= 0
        return {
            PERSON: not (has_action or has_place),
            ACTION: has_action,
            PLACE: has_place,
            ACTION_PLACE: has_action and has_place,
        }
