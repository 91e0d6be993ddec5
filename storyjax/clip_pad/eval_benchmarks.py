"""The three things that are measured: who is in a photo; Celebrities in Places; Celebrities in Action (§4.5)."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from storyjax.clip_pad.data import (
    ACTION,
    ACTION_PLACE,
    MODES,
    PERSON,
    PLACE,
    Albums,
    ClipIndex,
    People,
    Query,
    Sizes,
    read_clip,
    resize,
    who,
)
from storyjax.clip_pad.evaluate import (
    ZERO_SHOT,
    Asked,
    Embedded,
    Lookup,
    QueryList,
    classified,
    precision,
    recalls,
    scores,
    two_stage,
)
from storyjax.clip_pad.model import ClipPad
from storyjax.data.builders.celebrities import read_place_queries
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import decode_image
from storyjax.data.text import Tokenizer

_SOMEBODY_DOES = "an image of a person {action}"
_SOMEWHERE = "an image of the {place}"
_ALL = (ZERO_SHOT, *MODES)

Tokenizing = Callable[[], Tokenizer]


def _rows(queries: QueryList, asked: Sequence[tuple[str, dict[str, str]]], form: str) -> dict[str, list[int]]:
    """The rows of the queries of each mode; `asked` has (person, the form's other words)."""
    return {
        mode: [queries.row(Query(name, form.format(who=who(name, mode), **words))) for name, words in asked]
        for mode in MODES
    }


def faces_lookup(model: ClipPad, people: People, sizes: Sizes, tokenizer: Tokenizing, classes: int) -> Lookup:
    """Who is in a photo, among the people of training: "faces/text_face/acc" and so on; "faces/acc" is their mean.

    At most `classes` people are told apart, the first: all of VGGFace2's would be 8,631 queries for each mode.
    """
    queries = QueryList()
    names = people.names[:classes]
    number = {name: person for person, name in enumerate(people.names)}
    records = [record for record in people.val if people.person[record] < len(names)]
    answers = np.array([[people.person[record] == person for record in records] for person in range(len(names))])
    asked = Asked(_rows(queries, [(name, {}) for name in names], PERSON), answers)

    def photos_of(name: str) -> list[np.ndarray]:
        return [people.read(r) for r in people.photos_of(number[name], sizes.query_photos, None)]

    def finish(embedded: Embedded) -> dict[str, float]:
        right = answers & embedded.found[None]
        each = {f"faces/{mode}/acc": classified(scores(embedded, asked, mode), right) for mode in _ALL}
        return {**each, "faces/acc": float(np.mean([each[f"faces/{mode}/acc"] for mode in MODES]))}

    def load(record: int) -> np.ndarray:
        return resize(people.read(record), sizes.clip)[None]

    return Lookup("faces", model, sizes, tokenizer, records, load, queries.queries, photos_of, finish)


def _ask_album(albums: Albums, sizes: Sizes) -> Callable[[str], list[np.ndarray]]:
    return lambda name: [albums.read(r) for r in albums.photos_of(name, sizes.query_photos, None)]


def cip_lookup(
    model: ClipPad, source: MediaSource, albums: Albums, manual_dir: str, sizes: Sizes, tokenizer: Tokenizing
) -> Lookup:
    """Celebrities in Places (Tables 4.2a, 4.2b): somebody, somewhere, and somebody somewhere, among distractors."""
    labels = source.labels
    celebrity = np.array([row["celebrity"].lower() for row in labels])
    place, seen = np.array([row["place"] for row in labels]), np.array([row["seen"] for row in labels])
    queries = QueryList()
    kinds: dict[str, Asked] = {}
    for kind, flag in (("face_seen", "1"), ("face_unseen", "0")):
        names = sorted(set(celebrity[seen == flag]) & set(albums.photos))
        if names:
            answers = np.stack([celebrity == name for name in names])
            kinds[kind] = Asked(_rows(queries, [(name, {}) for name in names], PERSON), answers)
    places = sorted(set(place) - {""})
    there = [queries.row(Query("", _SOMEWHERE.format(place=name))) for name in places]
    kinds["places"] = Asked({"text": there}, np.stack([place == name for name in places]))
    pairs = read_place_queries(manual_dir)
    if pairs is None:
        pairs = sorted({(c, p) for c, p in zip(celebrity, place, strict=True) if c})
    pairs = [(c.lower(), p) for c, p in pairs if c.lower() in albums.photos]
    answers = np.stack([(celebrity == c) & (place == p) for c, p in pairs])
    kinds["compound"] = Asked(_rows(queries, [(c, {"place": p}) for c, p in pairs], PLACE), answers)

    def finish(embedded: Embedded) -> dict[str, float]:
        results = {}
        for kind, asked in kinds.items():
            answers = asked.answers & embedded.found[None]
            for mode in (ZERO_SHOT, *asked.rows):
                matrix = scores(embedded, asked, mode)
                results |= precision(f"cip/{kind}/{mode}", matrix, answers)
                if kind == "compound":
                    results |= recalls(f"cip/{kind}/{mode}", matrix, answers)
        return results

    def load(record: int) -> np.ndarray:
        item = source[record]
        return resize(decode_image(item["media"], item["path"]), sizes.clip)[None]

    return Lookup(
        "cip", model, sizes, tokenizer, range(len(source)), load, queries.queries, _ask_album(albums, sizes), finish
    )


class _Actions:
    """The kinds of queries of Celebrities in Action, and which clips answer them."""

    def __init__(self, index: ClipIndex, albums: Albums, known: frozenset[str]):
        self.index, self.queries = index, QueryList()
        self.records = index.usable
        pairs = [index.pairs[record] for record in self.records]
        self.place = np.array([index.place[record] for record in self.records])
        self.kinds = {
            "action": self._kind(ACTION, self._asked(pairs, True, False)),
            "place": self._kind(PLACE, self._asked(pairs, False, True)),
            "action_place": self._kind(ACTION_PLACE, self._asked(pairs, True, True)),
        }
        actors = [(name, {}) for name in index.actors]
        answers = np.array([[any(a == actor for a, _ in found) for found in pairs] for actor in range(len(actors))])
        self.actors = Asked(_rows(self.queries, actors, PERSON), answers)
        self.known = np.array([name in known for name in index.actors])
        self.action_classes = self._classes(
            _SOMEBODY_DOES, "action", index.actions, [{action for _, action in found} for found in pairs]
        )
        self.scene_classes = self._classes(_SOMEWHERE, "place", index.places, [{int(place)} for place in self.place])
        self.pairs = pairs

    def _asked(self, pairs: list, with_action: bool, with_place: bool) -> list[tuple[int, int, int]]:
        """All (actor, action, place) that occur and say as much as they should; -1 for what is not asked."""
        found = set()
        for clip, place in zip(pairs, self.place, strict=True):
            for actor, action in clip:
                if (action >= 0 or not with_action) and (place >= 0 or not with_place):
                    found.add((actor, action if with_action else -1, int(place) if with_place else -1))
        return sorted(found)

    def _kind(self, form: str, asked: list[tuple[int, int, int]]) -> Asked:
        index = self.index
        words = [
            (
                index.actors[a],
                {"action": index.actions[d] if d >= 0 else "", "place": index.places[p] if p >= 0 else ""},
            )
            for a, d, p in asked
        ]
        answers = np.array([[self._answers(record, *query) for record in self.records] for query in asked], bool)
        return Asked(_rows(self.queries, words, form), answers.reshape(len(asked), len(self.records)))

    def _answers(self, record: int, actor: int, action: int, place: int) -> bool:
        if place >= 0 and self.index.place[record] != place:
            return False
        return any(a == actor and action in (-1, d) for a, d in self.index.pairs[record])

    def _classes(self, form: str, word: str, names: list[str], right: list[set[int]]) -> Asked:
        rows = [self.queries.row(Query("", form.format(**{word: name}))) for name in names]
        answers = np.array([[number in true for true in right] for number in range(len(names))], bool)
        return Asked({"text": rows}, answers.reshape(len(names), len(right)))

    def finish(self, embedded: Embedded) -> dict[str, float]:
        results: dict[str, float] = {}
        found = embedded.found[None]
        for kind, asked in self.kinds.items():
            answers = asked.answers & found
            for mode in _ALL:
                results |= recalls(f"cia/{kind}/{mode}", scores(embedded, asked, mode), answers)
            # The face ranks by itself; the sentence, name and all, is the other list.
            faces = self._person_scores(embedded, asked)
            walked = two_stage(scores(embedded, asked, "text"), faces)
            results |= recalls(f"cia/{kind}/two_stage", walked, answers)
        return results | self._classification(embedded, found)

    def _person_scores(self, embedded: Embedded, asked: Asked) -> np.ndarray:
        person = {self.queries.queries[row].person: row for row in self.actors.rows["face"]}
        rows = [person[self.queries.queries[row].person] for row in asked.rows["face"]]
        return embedded.queries[rows] @ embedded.clips.T

    def _classification(self, embedded: Embedded, found: Bool[np.ndarray, "1 n"]) -> dict[str, float]:
        results = {}
        groups = {"actor": np.ones_like(self.known), "actor_seen": self.known, "actor_unseen": ~self.known}
        for group, kept in groups.items():
            if not kept.any():
                continue
            answers = (self.actors.answers & found)[kept]
            for mode in _ALL:
                results[f"cia/{group}/{mode}/acc"] = classified(scores(embedded, self.actors, mode)[kept], answers)
            results[f"cia/{group}/chance"] = 1 / int(kept.sum())
            by_name, by_both = (results[f"cia/{group}/{mode}/acc"] for mode in ("text", "text_face"))
            results[f"cia/{group}/gain"] = by_both - by_name
        for kind, asked in (("action_class", self.action_classes), ("scene_class", self.scene_classes)):
            for mode in (ZERO_SHOT, "text"):
                right = asked.answers & found
                results[f"cia/{kind}/{mode}/acc"] = classified(scores(embedded, asked, mode), right)
            results[f"cia/{kind}/chance"] = 1 / len(asked.answers)
        return results


def cia_lookup(
    model: ClipPad, index: ClipIndex, albums: Albums, known: frozenset[str], sizes: Sizes, tokenizer: Tokenizing
) -> Lookup:
    """Celebrities in Action (Tables 4.3, 4.4, 4.5, 4.7). `known`: the lower-case names of all that training showed."""
    actions = _Actions(index, albums, known)

    def load(record: int) -> np.ndarray:
        return read_clip(index.source[record], sizes.frames, sizes.clip, None)

    queries = actions.queries.queries
    return Lookup(
        "cia", model, sizes, tokenizer, actions.records, load, queries, _ask_album(albums, sizes), actions.finish
    )
