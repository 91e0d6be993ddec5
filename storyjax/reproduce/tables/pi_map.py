"""The tables of thesis Ch. 5, measured on StoryWorld."""

from typing import Any

from storyjax.reproduce.schema import Above, Claim, Overrides, Panel, Row, Table, Variant

THINGS = "configs/pi_map_thisismy.py:embedded"
PRETRAIN = "configs/pi_map_imagenet.py:embedded"
GARMENTS = "configs/pi_map_deepfashion2.py:embedded"
ACTORS = "configs/pi_map_cia.py:embedded"

QUICK: dict[str, Overrides] = {
    ACTORS: (
        ("train.steps", 2),
        ("data.root", "runs/quick/cia_pi"),
        ("data.cache_dir", "runs/quick/prepared"),
        ("data.synthetic", {"train": 48, "val": 1, "test": 32, "faces": 1}),
        ("data.templates", 1),
        ("data.held_out", 0),
    ),
    THINGS: (
        ("train.steps", 2),
        ("data.root", "runs/quick/thisismy"),
        ("data.cache_dir", "runs/quick/prepared"),
        ("data.synthetic", {"counts": {"instances": 5, "train": 4, "eval": 2, "test": 2}}),
        ("data.templates", 1),
    ),
    PRETRAIN: (
        ("train.steps", 2),
        ("train.batch_size", 10),
        ("eval.batch_size", 10),
        ("data.root", "runs/quick/imagenet"),
        ("data.cache_dir", "runs/quick/prepared_imagenet"),
        ("data.synthetic", {"counts": {"train": 40, "val": 20}}),
    ),
    GARMENTS: (
        ("train.steps", 2),
        ("data.root", "runs/quick/deepfashion2"),
        ("data.cache_dir", "runs/quick/prepared"),
        ("data.synthetic", {"counts": {"garments": 5, "train": 4, "eval": 2}}),
        ("data.templates", 1),
    ),
}

_OURS = Variant("ours", THINGS, real=())


def _without(name: str, key: str, value: Any, config: str = THINGS, start: Variant | None = None) -> Variant:
    """A variant in which one key is another, on StoryWorld and on the real data."""
    return Variant(name, config, ((key, value),), start=start, real=((key, value),))


_UNSCHEMED = _without("no_init_scheme", "model.init_scheme", False, PRETRAIN)
_ABLATIONS = {
    "ours": (_OURS, 33.7, 87.2),
    "w/o reg loss": (_without("no_reg_loss", "model.loss.alpha", 0.0), 29.1, 79.1),
    "w/o caption augmentation": (_without("no_captions", "data.captions", "none"), 26.0, 76.3),
    "w/o localisation": (_without("no_localisation", "data.localise", "none"), 31.9, 83.5),
    "w/o pre-training": (_without("no_pretraining", "init.checkpoint", None), 27.7, 77.6),
    "w/o init scheme": (
        _without("no_init_scheme", "model.init_scheme", False, start=_UNSCHEMED),
        32.9,
        86.2,
    ),
}
_METHODS = {
    "text – generic": ("clip_text_generic", 12.3, 56.1),
    "text – specific": ("clip_text", 11.8, 58.3),
    "image": ("clip_image", 15.3, 63.5),
    "text + image": ("clip_both", 18.1, 67.7),
    "ours": ("text", 33.7, 87.2),
}


def _pairs(label: str, variant: Variant, prefix: str, true_recall: float, precision: float) -> tuple[Row, Row]:
    return (
        Row(f"{label}, tR@5", variant, f"{prefix}/tr5", true_recall),
        Row(f"{label}, P@5", variant, f"{prefix}/p5", precision),
    )


_BASELINE_ROWS = tuple(
    row
    for label, (method, true_recall, precision) in _METHODS.items()
    for row in _pairs(label, _OURS, f"thisismy_eval/generic/{method}", true_recall, precision)
)
_ABLATION_ROWS = tuple(
    row
    for label, (variant, true_recall, precision) in _ABLATIONS.items()
    for row in _pairs(label, variant, "thisismy_eval/generic/text", true_recall, precision)
)

TABLE_5_1 = Table(
    number="5.1",
    title="baselines and ablations of π-map (§5.5.1)",
    ours="StoryWorld's videos of particular things, evaluation segments",
    theirs="this-is-my, evaluation split (at most 40.3 tR@5)",
    quick=QUICK,
    panels=(
        Panel(
            "a",
            "against CLIP, generic queries",
            "method",
            (*_BASELINE_ROWS, Row("the most that is possible, tR@5", _OURS, "thisismy_eval/generic/best/tr5", 40.3)),
            tuple(
                Claim(f"π-map finds more than CLIP by {label}", (Above("ours, P@5", f"{label}, P@5"),))
                for label in _METHODS
                if label != "ours"
            ),
        ),
        Panel(
            "b",
            "ablations, generic queries by the learned token",
            "ablation",
            _ABLATION_ROWS,
            tuple(
                Claim(f"{label} costs precision", (Above("ours, P@5", f"{label}, P@5"),))
                for label in _ABLATIONS
                if label != "ours"
            ),
        ),
    ),
)

_TEMPLATES = {
    1: ((31.9, 84.5), (28.6, 77.8)),
    3: ((33.7, 87.2), (30.4, 81.9)),
    5: ((33.6, 87.2), (31.9, 83.5)),
    10: ((33.2, 87.0), (32.4, 84.8)),
}


def _templates(count: int, localise: bool) -> Variant:
    name = f"templates_{count}_{'local' if localise else 'whole'}"
    changes = (("data.templates", count), ("data.frames", 1), ("data.localise", "data" if localise else "none"))
    # On the real data boxes come from a detector, which the config names.
    return Variant(name, THINGS, changes, real=changes[:2] if localise else changes)


TABLE_5_2 = Table(
    number="5.2",
    title="number of template images, with and without localisation (§5.5.1)",
    ours="StoryWorld's videos of particular things, evaluation segments; one frame of each template video",
    theirs="this-is-my, evaluation split (at most 40.3 tR@5)",
    # With the small world of a quick run there are not as many videos of an object.
    quick={THINGS: (*QUICK[THINGS], ("data.held_out", 1))},
    panels=(
        *(
            Panel(
                key,
                f"{words} localisation",
                "template images",
                tuple(
                    row
                    for count, thesis in _TEMPLATES.items()
                    for row in _pairs(
                        str(count),
                        _templates(count, localise),
                        "thisismy_eval/generic/text",
                        *thesis[0 if localise else 1],
                    )
                ),
                (
                    Claim("more than one image helps", (Above("3, P@5", "1, P@5"),)),
                    Claim("ten images are hardly better than three", (Above("3, P@5", "10, P@5", by=-2.0),)),
                ),
            )
            for key, words, localise in (("a", "with", True), ("b", "without", False))
        ),
        Panel(
            "c",
            "how many images localisation saves",
            "template images",
            (
                Row("3 with, P@5", _templates(3, True), "thisismy_eval/generic/text/p5", 87.2),
                Row("10 without, P@5", _templates(10, False), "thisismy_eval/generic/text/p5", 84.8),
            ),
            (
                Claim(
                    "three images with localisation do as well as ten without",
                    (Above("3 with, P@5", "10 without, P@5"),),
                ),
            ),
        ),
    ),
)


def _context_and_generic(
    variant: Variant,
    prefix: str,
    rows: dict[str, tuple[str, tuple[float | None, ...]]],
    others: dict[str, tuple[float, ...]],
) -> tuple[Panel, Panel]:
    """Two panels: context (MRR, R@5) and generic (mAP, MRR) for methods with their four numbers of the thesis.

    `others` are those of methods that are not made here; of some there are the first two alone.
    """
    panels = []
    for key, kind, metrics, place in (
        ("a", "context", (("MRR", "mrr"), ("R@5", "r5")), 0),
        ("b", "generic", (("mAP", "map"), ("MRR", "mrr")), 2),
    ):
        found = tuple(
            Row(f"{label}, {name}", variant, f"{prefix}/{kind}/{method}/{metric}", thesis[place + i])
            for label, (method, thesis) in rows.items()
            for i, (name, metric) in enumerate(metrics)
        )
        head = metrics[0][0]
        best = [label for label in rows if label.startswith("ours")]
        claims = tuple(
            Claim(f"{label} finds more than {other}", (Above(f"{label}, {head}", f"{other}, {head}"),))
            for label in best
            for other in rows
            if not other.startswith("ours")
        )
        cited = tuple(
            (f"{label}, {name}", numbers[place + i])
            for label, numbers in others.items()
            for i, (name, _) in enumerate(metrics)
            if place + i < len(numbers)
        )
        panels.append(Panel(key, f"{kind} queries", "method", found, claims, cited))
    return panels[0], panels[1]


# The published numbers are of training on train and eval (§5.4.1); the ablations, which search eval, on train alone.
FINAL: Overrides = (("data.also_eval", True), ("data.eval_splits", ("test",)))
FINAL_OURS = Variant("ours_train_and_eval", THINGS, FINAL, real=FINAL)

TABLE_5_3 = Table(
    number="5.3",
    title="this-is-my (§5.5.2)",
    ours="StoryWorld's videos of particular things, test segments",
    theirs="this-is-my, test set",
    quick=QUICK,
    panels=_context_and_generic(
        FINAL_OURS,
        "thisismy",
        {
            "CLIP, text": ("clip_text", (30.8, 36.7, 16.6, 44.2)),
            "CLIP, image": ("clip_image", (None, None, None, None)),
            "CLIP, image + text": ("clip_both", (24.3, 28.9, 52.4, 83.4)),
            "ours, image": ("image", (43.1, 52.0, 58.4, 88.3)),
            "ours, text": ("text", (42.1, 50.9, 57.0, 87.6)),
        },
        {"CLIP, image + text, as published": (20.9, 23.3, 51.7, 82.9), "this-is-my": (42.0, 50.7, 56.4, 87.4)},
    ),
)

OUR_GARMENTS = Variant("ours", GARMENTS, real=())
_UNCAPTIONED = _without("no_captions", "data.captions", "none", GARMENTS)
_DETAILED = _without("detailed_captions", "data.query_captions", "detailed", GARMENTS)


def _garments(
    label: str, variant: Variant, queries: str, numbers: tuple[float | None, ...], metrics: tuple[str, ...]
) -> tuple[Row, ...]:
    """A row for each metric; `queries` are the kind and the method."""
    names = {"map": "mAP", "mrr": "MRR", "r5": "R@5"}
    return tuple(
        Row(f"{label}, {names[metric]}", variant, f"deepfashion2/{queries}/{metric}", number)
        for metric, number in zip(metrics, numbers, strict=True)
    )


TABLE_5_5 = Table(
    number="5.5",
    title="DeepFashion2 (§5.5.4)",
    ours="StoryWorld's photographs of garments",
    theirs="DeepFashion2, personalisation split of Cohen et al. 2022",
    quick=QUICK,
    panels=(
        *_context_and_generic(
            OUR_GARMENTS,
            "deepfashion2",
            {
                "CLIP, text": ("clip_text", (21.2, 23.4, 9.0, 17.5)),
                "CLIP, image": ("clip_image", (14.5, 17.6, 20.9, 43.9)),
                "CLIP, image + text": ("clip_both", (21.0, 26.9, 21.7, 43.6)),
                "ours, image": ("image", (38.5, 51.8, 54.7, 78.2)),
            },
            {"PALAVRA": (28.4, 39.2), "this-is-my": (38.4, 51.4, 53.4, 77.7)},
        ),
        Panel(
            "c",
            "generic queries by image, with dense captions and without",
            "captions",
            (
                *_garments("with", OUR_GARMENTS, "generic/image", (54.7, 78.2), ("map", "mrr")),
                *_garments("without", _UNCAPTIONED, "generic/image", (55.1, 78.9), ("map", "mrr")),
            ),
            (Claim("without them is no worse", (Above("without, mAP", "with, mAP", by=-0.5),)),),
        ),
        # §5.4.3 speaks of both; the thesis does not say which its numbers are of.
        Panel(
            "d",
            "context queries by image, with the benchmark's short captions and its detailed ones",
            "captions",
            (
                *_garments("short", OUR_GARMENTS, "context/image", (38.5, 51.8), ("mrr", "r5")),
                *_garments("detailed", _DETAILED, "context/image", (None, None), ("mrr", "r5")),
            ),
        ),
    ),
)

OUR_ACTORS = Variant("ours", ACTORS, real=())
TABLE_5_4 = Table(
    number="5.4",
    title="Celebrities in Action, action and place (§5.5.3); CLIP-PAD's numbers are those of Table 4.4c",
    ours="StoryWorld's people",
    theirs="Celebrities in Action, test clips",
    quick=QUICK,
    panels=(
        Panel(
            "a",
            "somebody doing something somewhere",
            "query",
            tuple(
                Row(f"{label}, {name}", OUR_ACTORS, f"cia/context/{method}/{metric}", thesis)
                for label, method, numbers in (
                    ("CLIP, text", "clip_text", (39.9, 72.5)),
                    ("ours, image", "image", (69.7, 85.2)),
                    ("ours, text", "text", (64.9, 81.2)),
                )
                for (name, metric), thesis in zip((("R@1", "r1"), ("R@5", "r5")), numbers, strict=True)
            ),
            (
                Claim("by image better than CLIP", (Above("ours, image, R@1", "CLIP, text, R@1"),)),
                Claim("by learned tokens better than CLIP", (Above("ours, text, R@1", "CLIP, text, R@1"),)),
            ),
            tuple(
                (f"CLIP-PAD, {query}, {name} (made by table 4.4c)", value)
                for query, numbers in (("image + text", (66.3, 82.7)), ("image", (64.9, 81.8)), ("text", (64.2, 81.1)))
                for name, value in zip(("R@1", "R@5"), numbers, strict=True)
            ),
        ),
    ),
)

TABLES = (TABLE_5_1, TABLE_5_2, TABLE_5_3, TABLE_5_4, TABLE_5_5)  # 5.6 and 5.7: pi_map_supplement.py
