"""The tables of thesis Ch. 5's supplement: π-map with other CLIPs, and in collections that it never saw."""

from dataclasses import replace

from storyjax.reproduce.schema import Above, Claim, Overrides, Panel, Row, Table, Variant
from storyjax.reproduce.tables.pi_map import (
    ACTORS,
    FINAL,
    FINAL_OURS,
    GARMENTS,
    OUR_ACTORS,
    OUR_GARMENTS,
    PRETRAIN,
    QUICK,
    THINGS,
)

# Table 5.6: by data set its config, what its runs change, the panel's title and first metric, and its name in metrics.
_SETS = {
    "a": (THINGS, FINAL, "this-is-my, context queries", "MRR", "thisismy"),
    "b": (ACTORS, (), "Celebrities in Action, action and place", "R@1", "cia"),
    "c": (GARMENTS, (), "DeepFashion2, context queries", "MRR", "deepfashion2"),
}
# The thesis's CLIPs: `model.clip` where it is not the paper's, the width of π, and the numbers by panel.
_VITS: dict[str, tuple[dict[str, str], int, tuple[tuple[float, float], ...]]] = {
    "ViT-B/16": ({}, 512, ((42.1, 50.9), (64.9, 81.2), (38.3, 51.2))),
    "ViT-B/32": (
        {"preset": "clip_vit_b32", "weights": "weights/clip-vit-b-32"},
        512,
        ((41.6, 50.4), (64.7, 81.1), (38.3, 51.0)),
    ),
    "ViT-L/14": (
        {"preset": "clip_vit_l14", "weights": "weights/clip-vit-l-14"},
        768,
        ((42.4, 51.0), (65.4, 81.4), (38.6, 51.5)),
    ),
    "ViT-H/14": (
        {"preset": "clip_vit_h14", "weights": "weights/clip-vit-h-14"},
        1024,
        ((42.7, 51.5), (65.5, 81.4), (38.9, 52.0)),
    ),
    "SigLIP ViT-SO400M/14": (
        {"family": "siglip", "preset": "siglip_so400m14", "weights": "weights/siglip-so400m-14"},
        1152,
        ((43.4, 52.0), (66.0, 82.3), (39.4, 53.7)),
    ),
}
# StoryWorld's: one CLIP that knows nobody and has a text tower of two layers, which the shipped π belongs to, and one
# that knows people by name and has one layer. The thesis's first two stand beside.
_SMALL = {
    "general CLIP, text tower of two layers": ("ViT-B/16", None),
    "CLIP that knows names, text tower of one": ("ViT-B/32", "shipped:storyworld_clip"),
}
_OURS = {"a": FINAL_OURS, "b": OUR_ACTORS, "c": OUR_GARMENTS}


def _small_clip(key: str, weights: str | None) -> Variant:
    """The run of a data set with a CLIP of StoryWorld; None: the config's own. Each other CLIP has a π of its own.

    On the real data the thesis's CLIPs are in their place.
    """
    if weights is None:
        return replace(_OURS[key], real=None)
    config, changes, *_ = _SETS[key]
    name = weights.removeprefix("shipped:")
    clip: Overrides = (("model.clip.weights", weights),)
    more: Overrides = (("data.text_length", 20),)  # its text tower takes no more
    start = Variant(name, PRETRAIN, clip)
    return Variant(name, config, (*changes, *clip, *more), start=start)


def _published_clip(key: str, vit: str) -> Variant:
    """The run of a data set with a published CLIP, on the real data alone."""
    config, changes, *_ = _SETS[key]
    clip, width, _ = _VITS[vit]
    if not clip:
        return _OURS[key]
    name = clip["preset"]
    model = (*((f"model.clip.{field}", value) for field, value in clip.items()), ("model.pi.width", width))
    if clip.get("family") == "siglip":
        model = (*model, ("data.text_length", 64))
    start = Variant(name, PRETRAIN, real=model)
    return Variant(name, config, real=(*changes, *model), real_start=start)


def _clips(key: str) -> Panel:
    place = list(_SETS).index(key)
    _, _, title, first, prefix = _SETS[key]
    metrics = ((first, first.replace("@", "").lower()), ("R@5", "r5"))

    beside = {vit for vit, _ in _SMALL.values()}

    def rows(label: str, variant: Variant, vit: str, thesis_label: str | None) -> tuple[Row, ...]:
        return tuple(
            Row(f"{label}, {name}", variant, f"{prefix}/context/text/{metric}", value, thesis_label)
            for (name, metric), value in zip(metrics, _VITS[vit][2][place], strict=True)
        )

    return Panel(
        key,
        f"{title}, by the learned token",
        "CLIP",
        tuple(
            row for label, (vit, weights) in _SMALL.items() for row in rows(label, _small_clip(key, weights), vit, vit)
        ),
        cited=tuple(
            (f"{vit}, {name}", value)
            for vit, (*_, numbers) in _VITS.items()
            if vit not in beside
            for (name, _), value in zip(metrics, numbers[place], strict=True)
        ),
        real_rows=tuple(row for vit in _VITS for row in rows(vit, _published_clip(key, vit), vit, None)),
    )


TABLE_5_6 = Table(
    number="5.6",
    title="other CLIPs under the same π-map (§5.7.2)",
    ours="StoryWorld's test sets; tiny CLIPs",
    theirs="the three test sets",
    quick=QUICK,
    panels=tuple(_clips(key) for key in _SETS),
)

_UNSEEN = Variant(
    "unseen",
    THINGS,
    (
        ("data.unseen_root", "runs/storyworld/thisismy_unseen"),
        ("data.unseen_synthetic", {"counts": {"instances": 15, "train": 1, "eval": 1, "test": 8, "scenes": 1}}),
    ),
)
_UNSEEN_PHOTOS = Variant("unseen_frames", THINGS, (*_UNSEEN.overrides, ("data.frames", 1), ("data.templates", None)))
# The thesis's: actors of Celebrities in Action, learned from its clips or from photos, in clips of Condensed Movies.
_MOVIES: Overrides = (("data.unseen_root", "data/condensed_movies"),)
_ACTORS = Variant("unseen", ACTORS, real=_MOVIES)
_ACTOR_PHOTOS = Variant("unseen_photos", ACTORS, real=(*_MOVIES, ("data.train_split", "faces"), ("data.held_out", 0)))


def _unseen(prefix: str, videos: Variant, photos: Variant) -> tuple[Row, ...]:
    """The rows of Table 5.7; `prefix` is of the metrics."""
    return tuple(
        Row(f"{label}, {name}", variant, f"{prefix}_unseen/{kind}/{method}/{metric}", thesis)
        for label, variant, method, numbers in (
            ("CLIP", videos, "clip_both", (59.6, 37.5, 16.8)),
            ("ours, learned from videos", videos, "text", (71.8, 53.2, 49.1)),
            ("ours, learned from single frames or photos", photos, "text", (77.7, 62.4, 54.0)),
        )
        for (name, kind, metric), thesis in zip(
            (("R@10", "generic", "r10"), ("P@10", "generic", "p10"), ("video R@10", "context", "r10")),
            numbers,
            strict=True,
        )
    )


TABLE_5_7 = Table(
    number="5.7",
    title="retrieval from a collection that nothing was learned from (§5.7.3)",
    ours="StoryWorld's particular things in other videos; things instead of actors",
    theirs="actors in Condensed Movies",
    quick={
        THINGS: (
            *QUICK[THINGS],
            ("data.unseen_root", "runs/quick/thisismy_unseen"),
            ("data.unseen_synthetic", {"counts": {"instances": 5, "train": 2, "eval": 1, "test": 3, "scenes": 1}}),
        )
    },
    panels=(
        Panel(
            "a",
            "the thing, and the very video",
            "method",
            _unseen("thisismy", _UNSEEN, _UNSEEN_PHOTOS),
            (
                Claim(
                    "π-map is better than CLIP at the thing",
                    (Above("ours, learned from videos, P@10", "CLIP, P@10"),),
                ),
                Claim(
                    "and at the very video",
                    (Above("ours, learned from videos, video R@10", "CLIP, video R@10"),),
                ),
            ),
            (("CLIP-PAD, R@10", 78.4), ("CLIP-PAD, P@10", 55.8), ("CLIP-PAD, video R@10", 32.1)),
            _unseen("cia", _ACTORS, _ACTOR_PHOTOS),
        ),
    ),
)

TABLES = (TABLE_5_6, TABLE_5_7)
