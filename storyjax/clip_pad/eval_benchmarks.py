"""The evaluations of §4.5: who is in a photo; Celebrities in Places; Celebrities in Action."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from storyjax.clip_pad.data import (
    ACTION,
    ACTION_PLACE,
    MODES,
    PERSON,
    PLACE,
    ClipIndex,
    People,
    PhotoIndex,
    Query,
    Sizes,
    mention,
    read_clip,
)
from storyjax.clip_pad.evaluate import (
    ZERO_SHOT,
    Embeddings,
    QueryGroup,
    QueryList,
    RetrievalEvaluator,
    classification_accuracy,
    precision,
    recalls,
    scores,
    two_stage,
)
from storyjax.clip_pad.model import ClipPad
from storyjax.data.builders.celebrities import HIGH_FIVE_FOLDER, read_place_queries
from storyjax.data.builders.media import MediaSource
from storyjax.data.images import decode_image
from storyjax.data.text import Tokenizer

_SOMEBODY_DOES = "an image of a person {action}"
_SOMEWHERE = "an image of the {place}"
_ALL = (ZERO_SHOT, *MODES)

LazyTokenizer = Callable[[], Tokenizer]


def _rows(queries: QueryList, people: Sequence[tuple[str, dict[str, str]]], form: str) -> dict[str, list[int]]:
    """The rows of the queries of each mode; `people` has (name, the form's other words)."""
    return {
        mode: [queries.row(Query(name, form.format(who=mention(name, mode), **words))) for name, words in people]
        for mode in MODES
    }


def faces_evaluator(
    model: ClipPad, people: People, sizes: Sizes, tokenizer: LazyTokenizer, classes: int, evaluation: str = "faces"
) -> RetrievalEvaluator:
    """Returns the evaluator of who is in a photo, among `people`: those of training ("faces"), or others.

    Its metrics are "EVALUATION/MODE/acc" for each way to ask, and "EVALUATION/acc", the mean of those of the trained
    model. At most `classes` people are distinguished, the first: all of VGGFace2's would be 8,631 queries for each
    mode.
    """
    queries = QueryList()
    names = people.names[:classes]
    number = {name: person for person, name in enumerate(people.names)}
    records = [record for record in people.val if people.person[record] < len(names)]
    answers = np.array([[people.person[record] == person for record in records] for person in range(len(names))])
    group = QueryGroup(_rows(queries, [(name, {}) for name in names], PERSON), answers)

    def photos_of(name: str) -> list[np.ndarray]:
        photos = people.photos_of(number[name], sizes.query_photos, None)
        return [people.read_face(photo, sizes.face_loose) for photo in photos]

    def compute(embeddings: Embeddings) -> dict[str, float]:
        found = answers & embeddings.found[None]
        accuracy = {mode: classification_accuracy(scores(embeddings, group, mode), found) for mode in _ALL}
        mean = float(np.mean([accuracy[mode] for mode in MODES]))
        return {**{f"{evaluation}/{mode}/acc": value for mode, value in accuracy.items()}, f"{evaluation}/acc": mean}

    def load(record: int) -> np.ndarray:
        return sizes.clip_square(people.read(record))[None]

    return RetrievalEvaluator(evaluation, model, sizes, tokenizer, records, load, queries.queries, photos_of, compute)


def _photo_reader(photos: PhotoIndex, sizes: Sizes) -> Callable[[str], list[np.ndarray]]:
    return lambda name: [photos.read(r) for r in photos.photos_of(name, sizes.query_photos, None)]


def cip_evaluator(
    model: ClipPad, source: MediaSource, photos: PhotoIndex, root: str, sizes: Sizes, tokenizer: LazyTokenizer
) -> RetrievalEvaluator:
    """Returns the evaluator of Celebrities in Places (Tables 4.2a, 4.2b), whose official files are in `root`.

    Its metrics are "cip/{face_seen,face_unseen,places,compound}/MODE/map", and r1 and r5 of compound queries; images
    of nobody known are distractors.
    """
    labels = source.labels
    celebrity = np.array([row["celebrity"].lower() for row in labels])
    place, seen = np.array([row["place"] for row in labels]), np.array([row["seen"] for row in labels])
    queries = QueryList()
    groups: dict[str, QueryGroup] = {}
    for kind, flag in (("face_seen", "1"), ("face_unseen", "0")):
        names = sorted(set(celebrity[seen == flag]) & set(photos.photos))
        if names:
            answers = np.stack([celebrity == name for name in names])
            groups[kind] = QueryGroup(_rows(queries, [(name, {}) for name in names], PERSON), answers)
    places = sorted(set(place) - {""})
    place_rows = [queries.row(Query("", _SOMEWHERE.format(place=name))) for name in places]
    groups["places"] = QueryGroup({"text": place_rows}, np.stack([place == name for name in places]))
    pairs = read_place_queries(root)
    if pairs is None:
        pairs = sorted({(c, p) for c, p in zip(celebrity, place, strict=True) if c})
    pairs = [(c.lower(), p) for c, p in pairs if c.lower() in photos.photos]
    answers = np.stack([(celebrity == c) & (place == p) for c, p in pairs])
    groups["compound"] = QueryGroup(_rows(queries, [(c, {"place": p}) for c, p in pairs], PLACE), answers)

    def compute(embeddings: Embeddings) -> dict[str, float]:
        results: dict[str, float] = {}
        for kind, group in groups.items():
            answers = group.answers & embeddings.found[None]
            for mode in (ZERO_SHOT, *group.rows):
                matrix = scores(embeddings, group, mode)
                results |= precision(f"cip/{kind}/{mode}", matrix, answers)
                if kind == "compound":
                    results |= recalls(f"cip/{kind}/{mode}", matrix, answers)
        return results

    def load(record: int) -> np.ndarray:
        item = source[record]
        return sizes.clip_square(decode_image(item["media"], item["path"]))[None]

    read = _photo_reader(photos, sizes)
    records = range(len(source))
    return RetrievalEvaluator("cip", model, sizes, tokenizer, records, load, queries.queries, read, compute, groups)


class _CiaQueries:
    """The queries of Celebrities in Action by kind, which clips match them, and which clips each kind ranks (§4.7.4).

    A clip without an action is not among those that a query for an action ranks, nor one without a scene among those
    of a query for a place; a query for both ranks the clips that have both.
    """

    def __init__(self, index: ClipIndex, known: frozenset[str]):
        self.index, self.queries = index, QueryList()
        self.records = index.usable
        self.pairs = [index.pairs[record] for record in self.records]
        self.place = np.array([index.place[record] for record in self.records])
        self.groups = {
            "action": self._group(ACTION, self._combinations(with_action=True, with_place=False)),
            "place": self._group(PLACE, self._combinations(with_action=False, with_place=True)),
            "action_place": self._group(ACTION_PLACE, self._combinations(with_action=True, with_place=True)),
        }
        has_action = np.array([any(action >= 0 for _, action in pairs) for pairs in self.pairs], bool)
        has_place = self.place >= 0
        self.ranked = {"action": has_action, "place": has_place, "action_place": has_action & has_place}
        names: list[tuple[str, dict[str, str]]] = [(name, {}) for name in index.actors]
        answers = np.array([[any(a == actor for a, _ in pairs) for pairs in self.pairs] for actor in range(len(names))])
        self.actors = QueryGroup(_rows(self.queries, names, PERSON), answers)
        self.known = np.array([name in known for name in index.actors])
        self.action_classes = self._classes(
            _SOMEBODY_DOES, "action", index.actions, [{action for _, action in pairs} for pairs in self.pairs]
        )
        self.scene_classes = self._classes(_SOMEWHERE, "place", index.places, [{int(place)} for place in self.place])

    def _combinations(self, with_action: bool, with_place: bool) -> list[tuple[int, int, int]]:
        """All (actor, action, place) of the clips that have the labels; -1 for what is not part of the query."""
        combinations = set()
        for pairs, place in zip(self.pairs, self.place, strict=True):
            for actor, action in pairs:
                if (action >= 0 or not with_action) and (place >= 0 or not with_place):
                    combinations.add((actor, action if with_action else -1, int(place) if with_place else -1))
        return sorted(combinations)

    def _group(self, form: str, combinations: list[tuple[int, int, int]]) -> QueryGroup:
        index = self.index
        people = [
            (
                index.actors[a],
                {"action": index.actions[d] if d >= 0 else "", "place": index.places[p] if p >= 0 else ""},
            )
            for a, d, p in combinations
        ]
        answers = np.array([[self._matches(record, *query) for record in self.records] for query in combinations], bool)
        return QueryGroup(_rows(self.queries, people, form), answers.reshape(len(combinations), len(self.records)))

    def _matches(self, record: int, actor: int, action: int, place: int) -> bool:
        if place >= 0 and self.index.place[record] != place:
            return False
        return any(a == actor and action in (-1, d) for a, d in self.index.pairs[record])

    def _classes(self, form: str, word: str, names: list[str], correct: list[set[int]]) -> QueryGroup:
        rows = [self.queries.row(Query("", form.format(**{word: name}))) for name in names]
        answers = np.array([[number in true for true in correct] for number in range(len(names))], bool)
        return QueryGroup({"text": rows}, answers.reshape(len(names), len(correct)))

    def compute(self, embeddings: Embeddings) -> dict[str, float]:
        """Returns all metrics of the benchmark."""
        results: dict[str, float] = {}
        found = embeddings.found[None]
        for kind, group in self.groups.items():
            ranked = self.ranked[kind]
            answers = (group.answers & found)[:, ranked]
            for mode in _ALL:
                results |= recalls(f"cia/{kind}/{mode}", scores(embeddings, group, mode)[:, ranked], answers)
            # One list is ranked by the face alone, the other by the sentence with the name.
            by_face = self._face_scores(embeddings, group)[:, ranked]
            merged = two_stage(scores(embeddings, group, "text")[:, ranked], by_face)
            results |= recalls(f"cia/{kind}/two_stage", merged, answers)
        return results | self._classification(embeddings, found)

    def _face_scores(self, embeddings: Embeddings, group: QueryGroup) -> np.ndarray:
        """The scores of "an image of FACE" for the person of each query."""
        person = {self.queries.queries[row].person: row for row in self.actors.rows["face"]}
        rows = [person[self.queries.queries[row].person] for row in group.rows["face"]]
        return embeddings.queries[rows] @ embeddings.clips.T

    def _classification(self, embeddings: Embeddings, found: Bool[np.ndarray, "1 n"]) -> dict[str, float]:
        results: dict[str, float] = {}
        groups = {"actor": np.ones_like(self.known), "actor_seen": self.known, "actor_unseen": ~self.known}
        for name, kept in groups.items():
            if not kept.any():
                continue
            answers = (self.actors.answers & found)[kept]
            for mode in _ALL:
                matrix = scores(embeddings, self.actors, mode)[kept]
                results[f"cia/{name}/{mode}/acc"] = classification_accuracy(matrix, answers)
            results[f"cia/{name}/chance"] = 1 / int(kept.sum())
            by_name, by_both = (results[f"cia/{name}/{mode}/acc"] for mode in ("text", "text_face"))
            results[f"cia/{name}/gain"] = by_both - by_name
        for name, group in (("action_class", self.action_classes), ("scene_class", self.scene_classes)):
            for mode in (ZERO_SHOT, "text"):
                accuracy = classification_accuracy(scores(embeddings, group, mode), group.answers & found)
                results[f"cia/{name}/{mode}/acc"] = accuracy
            results[f"cia/{name}/chance"] = 1 / len(group.answers)
        return results | self._each_action(embeddings, found)

    def _each_action(self, embeddings: Embeddings, found: Bool[np.ndarray, "1 n"]) -> dict[str, float]:
        """The accuracy of the clips of each action, those of High-Five apart from those of Hollywood2 (Table 4.8)."""
        results: dict[str, float] = {}
        group, sources = self.action_classes, self.sources
        for mode in (ZERO_SHOT, "text"):
            matrix = scores(embeddings, group, mode)
            for name in dict.fromkeys(sources):
                own = (sources == name)[None] & found
                for action, of_action in zip(self.index.actions, group.answers, strict=True):
                    kept = group.answers & own & of_action[None]
                    if kept.any():
                        key = f"cia/action_class/{mode}/{name}/{action.replace(' ', '_')}"
                        results[key] = classification_accuracy(matrix, kept)
        return results

    @functools.cached_property
    def sources(self) -> np.ndarray:
        """The collection that each clip is from, "high_five" or "hollywood2", by its path."""
        paths = [self.index.source[record]["path"] for record in self.records]
        return np.array(["high_five" if path.startswith(HIGH_FIVE_FOLDER) else "hollywood2" for path in paths])


def cia_evaluator(
    model: ClipPad,
    index: ClipIndex,
    photos: PhotoIndex,
    known: frozenset[str],
    sizes: Sizes,
    tokenizer: LazyTokenizer,
    statistics: Callable[[], dict[str, float]] = dict,
) -> RetrievalEvaluator:
    """Returns the evaluator of Celebrities in Action (Tables 4.3, 4.4, 4.5, 4.7, 4.8).

    Its metrics are "cia/{action,place,action_place}/MODE/{r1,r5}" and accuracies of actors, actions and scenes.

    Args:
        known: lower-case names of the people in the training data.
        statistics: further metrics, of the data set itself.
    """
    benchmark = _CiaQueries(index, known)

    def load(record: int) -> np.ndarray:
        return read_clip(index.source[record], sizes, None)

    def compute(embeddings: Embeddings) -> dict[str, float]:
        return benchmark.compute(embeddings) | statistics()

    queries, read = benchmark.queries.queries, _photo_reader(photos, sizes)
    return RetrievalEvaluator(
        "cia", model, sizes, tokenizer, benchmark.records, load, queries, read, compute, benchmark.groups
    )
