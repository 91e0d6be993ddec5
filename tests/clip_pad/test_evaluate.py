"""The evaluators on embeddings made by hand: perfect ones score one, and each mode is scored by its own."""

import copy
import json

import numpy as np
import pytest
import small

from storyjax.clip_pad.config import DataConfig, Roots
from storyjax.clip_pad.eval_benchmarks import cia_evaluator, cip_evaluator, faces_evaluator
from storyjax.clip_pad.evaluate import Embeddings, classification_accuracy, two_stage
from storyjax.clip_pad.experiment import Sources
from storyjax.clip_pad.qualitative import ranked_queries
from storyjax.clip_pad.statistics import clip_statistics
from storyjax.core.errors import StoryjaxError
from storyjax.metrics.retrieval import first_ranks


def test_two_ranked_lists_are_merged_by_the_depth_of_both():
    rng = np.random.default_rng(0)
    first, second = rng.permutation(7)[None].astype(float), rng.permutation(7)[None].astype(float)
    lists = [list(np.argsort(-row[0])) for row in (first, second)]
    expected: list[int] = []
    for depth in range(1, 8):
        met = [item for item in lists[0][:depth] if item in lists[1][:depth] and item not in expected]
        expected += sorted(met, key=lambda item: lists[0].index(item) + lists[1].index(item))
    found = list(np.argsort(-two_stage(first, second)[0], kind="stable"))
    depth_of = {item: max(row.index(item) for row in lists) for item in range(7)}
    assert [depth_of[item] for item in found] == sorted(depth_of.values())
    assert [depth_of[item] for item in expected] == [depth_of[item] for item in found]
    # An item that leads both lists leads; one that leads a single list does not.
    lead = two_stage(np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 3.0, 2.0]]))
    assert lead[0].argmax() == 1


def test_a_clip_may_have_several_correct_classes_or_none():
    matrix = np.array([[0.9, 0.1, 0.5, 0.2], [0.1, 0.8, 0.6, 0.9]])
    answers = np.array([[True, False, True, False], [False, False, True, True]])
    assert classification_accuracy(matrix, answers) == 1.0  # the second clip belongs to no class
    assert classification_accuracy(-matrix, answers) == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def sources(world, tmp_path_factory) -> Sources:
    root = Roots(**{name: str(world / name) for name in ("vggface2", "cip", "cia")})
    return Sources(DataConfig(root=root, cache_dir=str(tmp_path_factory.mktemp("prepared")), val_photos=1))


def one_hot(evaluator, known: dict[str, int], width: int) -> Embeddings:
    """Embeddings in which queries and clips have a coordinate for each word that distinguishes them."""
    queries = np.zeros((len(evaluator.queries), width), np.float32)
    for row, query in enumerate(evaluator.queries):
        for word, column in known.items():
            if f" {word} " in f" {query.prompt} ":
                queries[row, column] = 1
        if "*TOK*" in query.prompt:
            queries[row, known[query.person]] = 1
    clips = np.zeros((len(evaluator.records), width), np.float32)
    return Embeddings(clips, queries, np.zeros_like(queries), np.ones(len(evaluator.records), bool))


def test_perfect_embeddings_classify_every_held_out_face(sources):
    people = sources.people()
    evaluator = faces_evaluator(small.MODEL, people, small.SIZES, lambda: small.TOKENIZER, 100)
    known = {name: column for column, name in enumerate(people.names)}
    embedded = one_hot(evaluator, known, 6)
    for row, record in enumerate(evaluator.records):
        embedded.clips[row, people.person[record]] = 1
    results = evaluator.compute(embedded)
    assert results["faces/text/acc"] == results["faces/face/acc"] == results["faces/acc"] == 1
    assert results["faces/zero_shot/acc"] < 0.5
    assert len(evaluator.records) == 6  # one of each
    embedded.clips[:] = np.roll(embedded.clips, 1, axis=0)
    assert evaluator.compute(embedded)["faces/acc"] == 0
    only_two = faces_evaluator(small.MODEL, people, small.SIZES, lambda: small.TOKENIZER, 2)
    assert len(only_two.records) == 2


def test_perfect_embeddings_find_celebrities_in_places(sources, world):
    source, photos = sources.source("cip", "test"), sources.query_photos("cip")
    evaluator = cip_evaluator(small.MODEL, source, photos, str(world / "cip"), small.SIZES, lambda: small.TOKENIZER)
    words = sorted({r["celebrity"] for r in source.labels} | {r["place"] for r in source.labels} - {""})
    known = {word: column for column, word in enumerate(words) if word}
    embedded = one_hot(evaluator, known, len(words))
    for row, record in enumerate(source.labels):
        if record["celebrity"]:
            embedded.clips[row, [known[record["celebrity"]], known[record["place"]]]] = 1
    results = evaluator.compute(embedded)
    kinds = ("face_seen/text", "face_unseen/face", "places/text", "compound/text_face")
    assert {results[f"cip/{kind}/map"] for kind in kinds} == {1.0}
    assert results["cip/compound/text_face/r5"] == 1.0
    assert results["cip/compound/zero_shot/map"] < 0.5
    assert "cip/places/face/map" not in results


def test_perfect_embeddings_find_celebrities_in_action(sources):
    index, photos = sources.clips("test"), sources.query_photos("cia")
    known_people = sources.known_people()
    evaluator = cia_evaluator(small.MODEL, index, photos, known_people, small.SIZES, lambda: small.TOKENIZER)
    words = [*index.actors, *index.actions, *index.places]
    column = {word: number for number, word in enumerate(words)}
    embedded = one_hot(evaluator, column, len(words))
    alone = [row for row, record in enumerate(index.usable) if len(index.pairs[record]) == 1]
    for row, record in enumerate(index.usable):
        for actor, action in index.pairs[record]:
            embedded.clips[row, [actor, len(index.actors) + action]] += 1
        embedded.clips[row, column[index.places[index.place[record]]]] = 1
    results = evaluator.compute(embedded)
    for kind in ("action", "place", "action_place"):
        for mode in ("text", "face", "text_face"):
            assert results[f"cia/{kind}/{mode}/r5"] == 1.0
    assert results["cia/actor/text/acc"] == results["cia/scene_class/text/acc"] == 1.0
    assert results["cia/action_class/text/acc"] == 1.0
    assert results["cia/actor/zero_shot/acc"] < 0.5
    assert results["cia/actor_unseen/chance"] > results["cia/actor/chance"]
    assert len(alone) < len(index.usable)
    # Each action's clips, High-Five's apart, are classified like all (Table 4.8).
    each = {
        tuple(key.split("/")[2:]): value for key, value in results.items() if key.startswith("cia/action_class/text/h")
    }
    assert set(each.values()) == {1.0}
    assert {collection for _, collection, _ in each} == {"high_five", "hollywood2"}
    assert min(results[f"cia/action_class/zero_shot/{c}/{action}"] for _, c, action in each) < 0.5
    # Nobody of the group kept unseen is known, everybody else in the clips is.
    unseen = [name for name in index.actors if name not in known_people]
    assert len(unseen) == round(1 / results["cia/actor_unseen/chance"]) > 0
    # Broken clips are no answers.
    embedded.found[:] = False
    embedded.found[alone[0]] = True
    embedded.clips[~embedded.found] = 0
    assert evaluator.compute(embedded)["cia/action/text/r1"] == 1.0
    assert first_ranks(np.array([[1.0, 2.0]]), np.array([[True, False]]))[0] == 2


def test_the_data_set_is_counted_split_by_split(sources):
    rows = [
        {"actors": ["Ana", "Ben"], "actions": ["dancing", ""], "scene": "park"},
        {"actors": ["ana", "ana"], "actions": ["dancing", "singing"], "scene": ""},
        {"actors": ["ana"], "actions": ["dancing"], "scene": "forest"},
    ]
    assert clip_statistics(rows, {"ana"}) == {
        "clips": 3.0,
        "trained": 0.5,
        "people": pytest.approx(4 / 3),
        "actions": 1.0,  # ana 2, ben none
        "scenes": 1.5,
    }
    assert sources.clip_statistics() == {
        f"cia/data/{split}/{name}": value
        for split in ("train", "val", "test")
        for name, value in clip_statistics(
            sources.source("cia", split).labels, frozenset(sources.people().names)
        ).items()
    }
    assert sources.clip_statistics()["cia/data/test/clips"] == 28


def test_single_results_are_marked_as_the_metrics_count_them(world, tmp_path):
    folder = small.checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    roots = {name: str(world / name) for name in ("vggface2", "cip", "cia")}
    more = {"root": roots, "cache_dir": str(tmp_path / "prepared"), "eval_splits": ["cip:test"], "query_photos": 1}
    config |= {"experiment": "clip_pad", "precision": "float32", "data": {**config["data"], **more}}
    (folder / "config.json").write_text(json.dumps(config))
    asked = ranked_queries(folder, "cip:places,compound", queries=100, first=1000)
    source = Sources(DataConfig(root=Roots(**roots), cache_dir=more["cache_dir"])).source("cip", "test")
    for query in asked:
        assert [each.rank for each in query.results] == list(range(1, len(source) + 1))
    first = asked[0]
    place = first.query.removeprefix("an image of the ").rstrip(" .")
    right = sum(each.mark == "right" for each in first.results)
    assert right == sum(row["place"] == place for row in source.labels) > 0
    assert asked[-1].query.count("[face]") == 1
    with pytest.raises(StoryjaxError, match="kind of queries of cip: unknown 'place'"):
        ranked_queries(folder, "cip:place")


def test_each_kind_of_query_ranks_the_clips_that_have_its_labels(sources):
    """A clip without a scene that looks just like the query is no wrong answer to a query for a place (§4.7.4)."""
    index = copy.copy(sources.clips("test"))
    index.place, index.pairs = list(index.place), [list(pairs) for pairs in index.pairs]
    bare, record = index.usable[0], index.usable[1]
    # The second clip's person and action are in the first too, which has no scene there.
    index.place[bare], index.pairs[bare] = -1, list(index.pairs[record])
    photos, known = sources.query_photos("cia"), sources.known_people()
    evaluator = cia_evaluator(small.MODEL, index, photos, known, small.SIZES, lambda: small.TOKENIZER)
    words = [*index.actors, *index.actions, *index.places]
    column = {word: number for number, word in enumerate(words)}
    embedded = one_hot(evaluator, column, len(words))
    for row, each in enumerate(index.usable):
        for actor, action in index.pairs[each]:
            embedded.clips[row, [actor, len(index.actors) + action]] += 1
        if index.place[each] >= 0:
            embedded.clips[row, column[index.places[index.place[each]]]] = 1
    # It is nearer to every query than any other clip.
    embedded.clips[0] = 9
    results = evaluator.compute(embedded)
    assert results["cia/place/text/r5"] == results["cia/action_place/text/r5"] == 1.0
    assert results["cia/action_place/text/r1"] > results["cia/action/text/r1"]


def test_people_who_are_not_trained_on_are_told_apart_by_their_photos(sources):
    people = sources.held_out_people()
    assert people.names
    assert not set(people.names) & set(sources.people().names)
    args = small.MODEL, people, small.SIZES, lambda: small.TOKENIZER, 100
    evaluator = faces_evaluator(*args, "identities")
    known = {name: number for number, name in enumerate(people.names)}
    embedded = one_hot(evaluator, known, len(known))
    for row, record in enumerate(evaluator.records):
        embedded.clips[row, people.person[record]] = 1
    assert evaluator.compute(embedded)["identities/face/acc"] == 1
    assert DataConfig(eval_splits=("vggface2:test", "cip:test")).evaluations() == ["identities", "cip"]
