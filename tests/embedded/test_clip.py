"""What the small CLIP is shown: sentences from left to right, and the patches of each performer."""

import numpy as np

from storyjax.data.text import WordTokenizer
from storyjax.embedded.clip import ClipData, load_frames, visible_patches
from storyjax.models.vit import ViTConfig
from storyjax.storyworld.render.video_cache import StoryVideoCache
from storyjax.storyworld.story.stage import shot_at
from storyjax.storyworld.story.story import make_story
from storyjax.storyworld.story.vocabulary import vocabulary

SHOTS = [shot_at(make_story(seed), seconds) for seed in range(20) for seconds in (1.0, 8.0, 20.0)]


def test_two_performers_are_seen_in_patches_of_their_own_side() -> None:
    two = [shot for shot in SHOTS if len(shot.figures) == 2]
    assert len(two) > 10
    for shot in two:
        patches = visible_patches(shot, 4).reshape(2, 4, 4)
        for figure, seen in zip(shot.figures, patches, strict=True):
            left, right = seen[:, :2].sum(), seen[:, 2:].sum()
            assert (left > right) == (figure.x < 0.5)


def test_one_performer_leaves_the_second_part_empty() -> None:
    for shot in (shot for shot in SHOTS if len(shot.figures) == 1):
        one, empty = visible_patches(shot, 4)
        assert one.any()
        assert not empty.any()


def test_sentences_go_from_left_to_right(tmp_path) -> None:
    footage = StoryVideoCache(tmp_path, "val", {"val": 1})
    tokenizer = WordTokenizer.from_words(vocabulary())
    data = ClipData(events=15, rewrites=1)
    batch = load_frames(footage[0], np.random.default_rng(0), data, ViTConfig(image_size=64, patch_size=16), tokenizer)
    on_the_left = batch["parts"].reshape(15, 2, 4, 4)[..., :2].sum((2, 3)) / np.maximum(batch["parts"].sum(2), 1)
    pairs = np.flatnonzero(batch["parts"][:, 1].any(axis=-1))
    assert len(pairs) > 2
    for index in pairs:
        first = batch["part_texts"][index][on_the_left[index].argmax()]
        assert batch["texts"][index][:2].tolist() == first[:2].tolist()
