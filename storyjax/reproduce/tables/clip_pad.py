"""The tables of thesis Ch. 4, measured on StoryWorld."""

from storyjax.reproduce.schema import Above, Claim, Panel, Row, Table, Variant

_CIP_CONFIG, _CIA_CONFIG = "configs/clip_pad_cip.py:embedded", "configs/clip_pad_cia.py:embedded"
_PEOPLE_CONFIG = "configs/clip_pad_vggface2.py:embedded"
_CIP, CIA = Variant("as_it_is", _CIP_CONFIG, real=()), Variant("as_it_is", _CIA_CONFIG, real=())
_SMALL = {
    "vggface": {"photos": 6},
    "vggface2": {"photos": 6, "test_people": 2},
    "cip": {"pictures": 30, "distractors": 4},
    "cia": {"train": 48, "val": 4, "test": 40, "faces": 2},
    "season": {"episodes": 8, "photos": 12},
}
_QUICK = tuple(
    (f"data.{key}", value)
    for key, value in {
        **{f"root.{name}": f"runs/quick/{name}" for name in ("vggface", "vggface2", "cip", "cia")},
        "cache_dir": "runs/quick/prepared",
        "synthetic": _SMALL,
    }.items()
)
QUICK_RUN = {
    _CIP_CONFIG: (*_QUICK, ("train.steps", 2), ("eval.every", 2)),
    _CIA_CONFIG: (*_QUICK, ("train.steps", 2)),
}
OURS = "StoryWorld (its held-out people, images and clips)"
_CIP_THEIRS, CIA_THEIRS = "Celebrities in Places", "Celebrities in Action"
# The table's names of the ways to name a person in a query, and those of our metrics.
_MODES = {"CLIP": "zero_shot", "text": "text", "img": "face", "text+img": "text_face"}


def rows_by_mode(head: str, variant: Variant, metric: str, thesis: dict[str, float | None]) -> tuple[Row, ...]:
    """A row for each way of asking; `metric` has {} where the way stands."""
    prefix = f"{head}: " if head else ""
    return tuple(Row(f"{prefix}{mode}", variant, metric.format(_MODES[mode]), value) for mode, value in thesis.items())


TABLE_4_2 = Table(
    number="4.2",
    title="Celebrities in Places: somebody, somewhere, somebody somewhere (§4.5.1)",
    ours=OURS,
    theirs=_CIP_THEIRS,
    quick=QUICK_RUN,
    panels=(
        Panel(
            "a",
            "queries for a face or a place alone, mAP",
            "query",
            (
                *rows_by_mode(
                    "unseen face",
                    _CIP,
                    "cip/face_unseen/{}/map",
                    {"CLIP": 60.1, "text": 82.1, "img": 84.0, "text+img": 86.7},
                ),
                *rows_by_mode(
                    "seen face",
                    _CIP,
                    "cip/face_seen/{}/map",
                    {"CLIP": 59.1, "text": 82.0, "img": 83.7, "text+img": 86.6},
                ),
                *rows_by_mode("place", _CIP, "cip/places/{}/map", {"CLIP": 83.1, "text": 81.5}),
            ),
            cited=(
                ("unseen face: Zhong et al.", 74.1),
                ("seen face: Zhong et al.", 73.7),
                ("place: Zhong et al.", 51.1),
            ),
            claims=(
                Claim(
                    "name and face find people far better than CLIP does: at least 10 points",
                    (
                        Above("unseen face: text+img", "unseen face: CLIP", by=10.0),
                        Above("seen face: text+img", "seen face: CLIP", by=10.0),
                    ),
                ),
                Claim("places suffer by no more than 2 points", (Above("place: text", "place: CLIP", by=-2.0),)),
            ),
        ),
        Panel(
            "b",
            "queries for somebody somewhere",
            "query",
            (
                *rows_by_mode(
                    "mAP", _CIP, "cip/compound/{}/map", {"CLIP": 60.6, "text": 79.5, "img": 77.7, "text+img": 79.5}
                ),
                *rows_by_mode(
                    "R@5", _CIP, "cip/compound/{}/r5", {"CLIP": 79.5, "text": 94.5, "img": 93.0, "text+img": 94.5}
                ),
            ),
            cited=(("mAP: Zhong et al.", 63.4), ("R@5: Zhong et al.", 82.2)),
            claims=(
                Claim(
                    "name and face are better than CLIP by at least 10 points of mAP",
                    (Above("mAP: text+img", "mAP: CLIP", by=10.0),),
                ),
                Claim(
                    "name and face are no worse than either alone",
                    (Above("mAP: text+img", "mAP: text", by=-0.5), Above("mAP: text+img", "mAP: img", by=-0.5)),
                ),
            ),
        ),
    ),
)

TABLE_4_3 = Table(
    number="4.3",
    title="classification of actor, action and scene (§4.5.2)",
    ours=OURS,
    theirs=CIA_THEIRS,
    quick=QUICK_RUN,
    panels=(
        Panel(
            "a",
            "actor",
            "query",
            (
                Row("chance", CIA, "cia/actor/chance", 0.7),
                *rows_by_mode("", CIA, "cia/actor/{}/acc", {"CLIP": 9.1, "text": 26.5, "img": 32.7, "text+img": 33.8}),
            ),
            (
                Claim(
                    "CLIP hardly knows who is who: under 20 points over chance", (Above("chance", "CLIP", by=-20.0),)
                ),
                Claim("with name and face, at least 10 points more", (Above("text+img", "CLIP", by=10.0),)),
                Claim(
                    "name and face are no worse than either alone",
                    (Above("text+img", "text", by=-0.5), Above("text+img", "img", by=-0.5)),
                ),
            ),
        ),
        Panel(
            "b",
            "action and scene",
            "query",
            (
                Row("action: chance", CIA, "cia/action_class/chance", 8.3),
                *rows_by_mode("action", CIA, "cia/action_class/{}/acc", {"CLIP": 73.1, "text": 75.7}),
                Row("scene: chance", CIA, "cia/scene_class/chance", 10.0),
                *rows_by_mode("scene", CIA, "cia/scene_class/{}/acc", {"CLIP": 91.6, "text": 91.6}),
            ),
            (
                Claim("actions do not suffer", (Above("action: text", "action: CLIP", by=-0.5),)),
                Claim("scenes suffer by no more than 2 points", (Above("scene: text", "scene: CLIP", by=-2.0),)),
            ),
        ),
    ),
)


def _retrieval(
    key: str, name: str, kind: str, r1: tuple[float, ...], r5: tuple[float, ...], experts: tuple[float, float]
) -> Panel:
    return Panel(
        key,
        f"retrieval of somebody, {name}",
        "query",
        (
            *rows_by_mode("R@1", CIA, f"cia/{kind}/{{}}/r1", dict(zip(_MODES, r1, strict=True))),
            *rows_by_mode("R@5", CIA, f"cia/{kind}/{{}}/r5", dict(zip(_MODES, r5, strict=True))),
        ),
        (
            Claim(
                "name and face are no worse than either alone",
                (Above("R@1: text+img", "R@1: text", by=-0.5), Above("R@1: text+img", "R@1: img", by=-0.5)),
            ),
            Claim(
                "by name, by face and by both are better than CLIP",
                tuple(Above(f"R@1: {mode}", "R@1: CLIP") for mode in ("text", "img", "text+img")),
            ),
            Claim("by both at least 10 points better than CLIP", (Above("R@1: text+img", "R@1: CLIP", by=10.0),)),
        ),
        (("R@1: CE", experts[0]), ("R@5: CE", experts[1])),
    )


TABLE_4_4 = Table(
    number="4.4",
    title="retrieval on Celebrities in Action (§4.5.2)",
    ours=OURS,
    theirs=CIA_THEIRS,
    quick=QUICK_RUN,
    panels=(
        _retrieval("a", "doing something", "action", (42.4, 62.1, 64.5, 65.0), (73.5, 81.3, 83.7, 85.4), (35.3, 65.1)),
        _retrieval("b", "somewhere", "place", (58.2, 67.8, 68.2, 71.5), (78.1, 87.0, 87.3, 88.6), (36.7, 65.3)),
        _retrieval(
            "c",
            "doing something somewhere",
            "action_place",
            (39.9, 64.2, 64.9, 66.3),
            (72.0, 81.1, 81.8, 82.7),
            (32.1, 62.5),
        ),
    ),
)

TABLE_4_5 = Table(
    number="4.5",
    title="who is in a clip, of people seen and not seen in training (§4.7.1)",
    ours=OURS,
    theirs=CIA_THEIRS,
    quick=QUICK_RUN,
    panels=(
        Panel(
            "a",
            "classification among the people of each kind",
            "query",
            (
                Row("seen: chance", CIA, "cia/actor_seen/chance", 0.9),
                *rows_by_mode("seen", CIA, "cia/actor_seen/{}/acc", {"text": 31.3, "img": 35.8, "text+img": 36.7}),
                Row("unseen: chance", CIA, "cia/actor_unseen/chance", 3.1),
                *rows_by_mode("unseen", CIA, "cia/actor_unseen/{}/acc", {"text": 11.1, "img": 22.7, "text+img": 24.4}),
                Row("seen: what the face adds", CIA, "cia/actor_seen/gain", 5.4),
                Row("unseen: what the face adds", CIA, "cia/actor_unseen/gain", 13.3),
            ),
            (
                Claim(
                    "people not seen in training gain more from the face",
                    (Above("unseen: what the face adds", "seen: what the face adds"),),
                ),
            ),
        ),
    ),
)

TABLE_4_7 = Table(
    number="4.7",
    title="one compound query against two ranked lists, for somebody doing something somewhere (§4.7.6)",
    ours=OURS,
    theirs=CIA_THEIRS,
    quick=QUICK_RUN,
    panels=(
        Panel(
            "a",
            "CLIP-PAD* walks down the list of the sentence and that of the face",
            "method",
            (
                Row("R@1: CLIP (0-shot)", CIA, "cia/action_place/zero_shot/r1", 39.9),
                Row("R@1: CLIP-PAD*", CIA, "cia/action_place/two_stage/r1", 57.8),
                Row("R@1: CLIP-PAD", CIA, "cia/action_place/text_face/r1", 66.3),
                Row("R@5: CLIP (0-shot)", CIA, "cia/action_place/zero_shot/r5", 72.0),
                Row("R@5: CLIP-PAD*", CIA, "cia/action_place/two_stage/r5", 78.1),
                Row("R@5: CLIP-PAD", CIA, "cia/action_place/text_face/r5", 82.7),
            ),
            (
                Claim("one compound query beats two lists", (Above("R@1: CLIP-PAD", "R@1: CLIP-PAD*"),)),
                Claim("two lists beat zero-shot CLIP", (Above("R@1: CLIP-PAD*", "R@1: CLIP (0-shot)"),)),
            ),
            (
                *(("R@1: CE", 32.1), ("R@1: DE", 35.1), ("R@1: CE*", 39.1), ("R@1: DE*", 39.9)),
                *(("R@5: CE", 62.5), ("R@5: DE", 66.2), ("R@5: CE*", 71.5), ("R@5: DE*", 71.8)),
            ),
        ),
    ),
)

_SEASON = (("data.eval_splits", ("season:episodes",)),)
# No training of its own: the model of Tables 4.3 to 4.7 is evaluated.
_BEFORE = Variant(
    "season",
    _CIA_CONFIG,
    (*_SEASON, ("train.steps", 0), ("data.embed_once", False)),
    start=CIA,
    real=(*_SEASON, ("train.steps", 0)),
)
# §4.7.2: on photos of the cast alone, which the season brings along, with a fixed rate, for 3 epochs; the rate is that
# of our small networks.
_TUNED = Variant(
    "season_tuned",
    _PEOPLE_CONFIG,
    (
        *_SEASON,
        ("data.root.vggface2", "runs/storyworld/season/cast"),
        ("data.synthetic", {"season": {"episodes": 60, "photos": 60}}),
        ("train.steps", 12),
        ("train.stop_metric", None),
        ("optim.schedule", "constant"),
        ("optim.learning_rate", 2e-4),
    ),
    start=CIA,
    real=(
        *_SEASON,
        ("data.root", {"vggface2": "data/season/cast"}),
        ("train.epochs", 3),
        ("train.stop_metric", None),
        ("optim.schedule", "constant"),
        ("optim.learning_rate", 2e-5),
    ),
)


def _season(count: int, before: tuple[float, ...], tuned: tuple[float, ...]) -> Panel:
    rows = []
    for label, variant, thesis in (("as it is", _BEFORE, before), ("tuned on the cast", _TUNED, tuned)):
        for head, metric, value in zip(("R@25", "R@50", "last rank"), ("r25", "r50", "last_rank"), thesis, strict=True):
            name = f"season/{count}_per_minute/text_face/{metric}"
            rows.append(Row(f"{head}: {label}", variant, name, value))
    return Panel(
        {2: "a", 4: "b"}[count],
        f"{count} clips a minute",
        "model",
        tuple(rows),
        (
            Claim(
                "photos of the cast help, or at least do no harm",
                (Above("R@50: tuned on the cast", "R@50: as it is", by=-0.001),),
            ),
        ),
    )


TABLE_4_6 = Table(
    number="4.6",
    title="where in a season somebody does something: R@k as fractions, and the last rank (§4.7.2)",
    ours="StoryWorld (60 episodes whose cast is in no training; ivy dancing)",
    theirs="Seinfeld, season two (Michael Richards entering the room)",
    quick={
        _CIA_CONFIG: (*_QUICK, ("data.root.season", "runs/quick/season"), ("train.steps", 2)),
        _PEOPLE_CONFIG: (
            *_QUICK,
            ("data.root.season", "runs/quick/season"),
            ("data.root.vggface2", "runs/quick/season/cast"),
            ("data.synthetic", {"season": _SMALL["season"]}),
            ("train.steps", 2),
        ),
    },
    scale=1.0,
    panels=(
        _season(2, (0.61, 0.92, 53.0), (0.84, 1.0, 42.0)),
        _season(4, (0.46, 0.58, 113.0), (0.72, 0.88, 72.0)),
    ),
)

TABLES = (TABLE_4_2, TABLE_4_3, TABLE_4_4, TABLE_4_5, TABLE_4_6, TABLE_4_7)  # 4.1 and 4.8: clip_pad_supplement.py
