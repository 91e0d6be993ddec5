"""Whose mouth moves: places that move with the sound, and the boxes of the tracks that are there then."""

from dataclasses import replace
from pathlib import Path

import pytest

from storyjax.story.mouths import PLACES, looks_for_mouths, speaking_tracks
from storyjax.story.options import StoryOptions
from tests.story.small_story import make_story


def test_a_mouth_is_of_the_track_in_whose_box_it_moves(tmp_path: Path) -> None:
    """Of the small story's boxes, which are 0.2 wide and from 0.2 to 0.8 high, in fractions of the image."""
    with make_story(tmp_path / "story") as story:
        people = [track for track in story.tracks(1) if track.kind == "person"]
        ana, ben = people[0], people[1]
        assert (ana.end_s, ben.start_s) == (10.0, 4.0)
        sentence = story.utterances(1)[1]
        assert (sentence.start_s, sentence.end_s) == (5.0, 7.5)

        def speaking(*places: tuple[float, float]) -> tuple[int, ...]:
            told = replace(sentence, evidence={PLACES: [[y, x, 0.9] for y, x in places]})
            return speaking_tracks(story, [told], people)[sentence.id]

        assert speaking((0.3, 0.7)) == (ben.id,)
        assert speaking((0.3, 0.2)) == (ana.id,)
        assert speaking((0.3, 0.2), (0.5, 0.65)) == (ana.id, ben.id)
        assert speaking((0.7, 0.7)) == ()  # at the knees
        assert speaking((0.3, 0.45)) == ()  # between them
        assert speaking() == ()
        assert speaking_tracks(story, [sentence], people) == {}  # nobody looked
        late = replace(sentence, start_s=15.0, end_s=17.0, evidence={PLACES: [[0.3, 0.7, 0.9]]})
        assert speaking_tracks(story, [late], people)[sentence.id] == ()  # Ben is gone by then


@pytest.mark.parametrize(("tracker", "looks"), [(None, True), ("shipped:mqt_storyworld", True), ("faces", False)])
def test_what_ships_is_not_used_on_real_faces(tracker: str | None, looks: bool) -> None:
    assert looks_for_mouths(StoryOptions(models="off", tracker=tracker)) is looks
