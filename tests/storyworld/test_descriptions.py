"""Sentences that name nobody are true of their own moment, and their claims tell of which others."""

import jax.numpy as jnp
import numpy as np

from storyjax.data.text import WordTokenizer
from storyjax.embedded.clip_generic import contrast, is_true
from storyjax.storyworld.story.descriptions import claims, describe, generic_vocabulary, truth
from storyjax.storyworld.story.population import EVERYONE, FURTHER_PEOPLE
from storyjax.storyworld.story.story import StoryStyle, make_story

STORY = make_story(5, StoryStyle(names=("ada", "bob", "mia", "max")))


def test_every_sentence_is_true_of_its_own_moment_and_has_no_names():
    rng = np.random.default_rng(0)
    tokenizer = WordTokenizer.from_words(generic_vocabulary())
    told = [(event, describe(STORY, event, rng)) for event in STORY.events for _ in range(8)]
    truths = [truth(STORY, event) for event, _ in told]
    claimed = [claims(description) for _, description in told]
    table = np.asarray(
        is_true(
            jnp.array([place for place, _ in truths]),
            jnp.array([facts for _, facts in truths]),
            jnp.array([place for place, _ in claimed]),
            jnp.array([facts for _, facts in claimed]),
        )
    )
    assert table.diagonal().all()
    assert 0.05 < table.mean() < 0.6  # some are true of other moments too, most are not
    for _, description in told:
        assert not set(description.text.split()) & set(EVERYONE)
        assert tokenizer.unk_id not in tokenizer.encode(description.text), description.text


def test_a_claim_that_is_false_is_found_false():
    event = next(e for e in STORY.events if len(e.performances) == 1 and e.performances[0].thing is not None)
    place, facts = truth(STORY, event)
    for column in range(facts.shape[1]):
        said = np.full((1, 2, facts.shape[1]), -1)
        said[0, 0, column] = facts[0, column]
        arrays = jnp.array([place]), jnp.array([facts])
        assert is_true(*arrays, jnp.array([-1]), jnp.array(said))[0, 0]
        said[0, 0, column] += 1
        assert not is_true(*arrays, jnp.array([-1]), jnp.array(said))[0, 0]
    assert not is_true(jnp.array([place]), jnp.array([facts]), jnp.array([place + 1]), jnp.full((1, 2, 7), -1))[0, 0]


def test_pairs_that_are_true_are_no_negatives():
    logits = jnp.array([[2.0, 5.0, 1.0], [0.0, 3.0, 9.0]])
    none = jnp.zeros((2, 3), bool)
    lenient = contrast(logits, none.at[0, 1].set(True).at[1, 2].set(True))
    assert lenient < contrast(logits, none)
    rows = -np.log(np.exp(2) / (np.exp(2) + np.exp(1))), -np.log(np.exp(3) / (np.exp(0) + np.exp(3)))
    columns = -np.log(np.exp(2) / (np.exp(2) + np.exp(0))), -np.log(1.0)
    np.testing.assert_allclose(lenient, (np.mean(rows) + np.mean(columns)) / 2, rtol=1e-5)


def test_further_people_differ_and_stay_as_they_are():
    # Of somebody bald no image shows the colour of the hair.
    looks = [
        (p.skin, p.hair if p.hair_style != "bald" else None, p.hair_style, p.shirt, p.trousers)
        for p in EVERYONE.values()
    ]
    assert len(set(looks)) == len(looks)
    unseen = sum(not person.known for person in FURTHER_PEOPLE.values())
    assert 0.2 < unseen / len(FURTHER_PEOPLE) < 0.4
    assert FURTHER_PEOPLE["ada"].hair_style == "short"
    women = [p for p in FURTHER_PEOPLE.values() if p.pronoun == "she"]
    assert all(person.hair_style != "bald" for person in women)
