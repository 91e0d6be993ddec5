"""The tables of thesis Ch. 6, measured on StoryWorld's held-out series."""

import itertools

from storyjax.reproduce.schema import Above, Claim, Panel, Row, Table, Variant, rising

_TV = "configs/subtitles_tv.py:embedded"
_RUN = Variant("tv", _TV, real=())
_OURS = "StoryWorld (five held-out episodes)"
_QUICK = {
    _TV: (
        ("data.root", "runs/quick/series"),
        ("data.cache_dir", "runs/quick/subtitles"),
        ("data.synthetic", {"episodes": 2, "seconds": 20.0}),
        ("data.validation_seeds", (1000,)),
    )
}
_STEPS = (("speech", "VAD detection", 100.0), ("synchronisation", "audio-visual speaker detection", 60.3),
          ("face", "visual character classification", 38.3), ("exemplar", "audio filtering", 19.3))  # fmt: skip

TABLE_6_2 = Table(
    number="6.2",
    title="exemplar yield after the steps of Stage 1 (§6.3.1)",
    ours=_OURS,
    theirs="Seinfeld",
    quick=_QUICK,
    panels=(
        Panel(
            "a",
            "fraction of all segments",
            "step",
            (
                *(Row(label, _RUN, f"tv/steps/{step}/yield", thesis) for step, label, thesis in _STEPS),
                Row("laughter removed, not in the thesis's table", _RUN, "tv/steps/laughter/yield"),
            ),
            (
                Claim("each step leaves fewer segments", rising(*(label for _, label, _ in reversed(_STEPS)))),
                Claim("at least 15 % of all segments become exemplars", (Above("audio filtering", 15.0, by=-1e-9),)),
            ),
        ),
    ),
)

_RIGHT = (("speech", "all segments, the likeliest character of the whole frames"), ("laughter", "laughter removed"),
          ("synchronisation", "one visible speaker"), ("face", "visual character classification, where it is sure"),
          ("exemplar", "audio filtering"))  # fmt: skip

TABLE_6_3 = Table(
    number="6.3",
    title="how many labels are right after the steps of Stage 1 (§6.3.1)",
    ours=_OURS,
    theirs="Seinfeld",
    quick=_QUICK,
    panels=(
        Panel(
            "a",
            "precision",
            "after",
            tuple(
                Row(label, _RUN, f"tv/steps/{step}/precision", 99.8 if step == "exemplar" else None)
                for step, label in _RIGHT
            ),
            (
                *(
                    Claim(f"{after}: precision rises", (Above(after, before),))
                    for (_, before), (_, after) in itertools.pairwise(_RIGHT)
                ),
                Claim("at least 98 % of the exemplars are right", (Above("audio filtering", 98.0, by=-1e-9),)),
            ),
            (
                *(("audio filtering, Jerry", 99.6), ("audio filtering, Elaine", 100.0)),
                *(("audio filtering, Kramer", 100.0), ("audio filtering, George", 100.0)),
                ("audio filtering, 21 others", 100.0),
            ),
        ),
    ),
)

_MEASURES = ("DER", "DER(O)", "accuracy", "precision per character", "recall per character")

TABLE_6_4 = Table(
    number="6.4",
    title="performance on the test set (§6.3.2)",
    ours=_OURS,
    theirs="Seinfeld",
    quick=_QUICK,
    panels=(
        Panel(
            "a",
            "the whole pipeline; DER(O) counts overlapping speech",
            "metric",
            (
                Row("DER", _RUN, "tv/der", 29.6),
                Row("DER(O)", _RUN, "tv/der_overlap", 29.7),
                Row("accuracy", _RUN, "tv/accuracy", 81.2),
                Row("precision per character", _RUN, "tv/character_precision", 92.2),
                Row("recall per character", _RUN, "tv/character_recall", 84.1),
                Row("strangers called unknown", _RUN, "tv/extra_unknown"),
                Row("accuracy of lines spoken off-screen", _RUN, "tv/offscreen_accuracy"),
                Row("chance: the most frequent name", _RUN, "tv/chance"),
            ),
            (
                Claim(
                    "accuracy is above the most frequent name's", (Above("accuracy", "chance: the most frequent name"),)
                ),
                Claim("DER is at most 25", (Above(25.0, "DER", by=-1e-9),)),
                Claim("overlapping speech makes DER higher", (Above("DER(O)", "DER", by=-1e-9),)),
                Claim("strangers are called unknown more often than not", (Above("strangers called unknown", 50.0),)),
            ),
            tuple(
                (f"{show}: {metric}", value)
                for show, numbers in (
                    ("Frasier", (23.8, 24.3, 83.1, 93.3, 88.8)),
                    ("Scrubs", (32.6, 36.4, 76.1, 88.3, 85.3)),
                )
                for metric, value in zip(_MEASURES, numbers, strict=True)
            ),
        ),
    ),
)

TABLE_6_5 = Table(
    number="6.5",
    title="word error rate (§6.3.2)",
    ours=f"{_OURS}, Whisper tiny.en",
    theirs="Seinfeld, WhisperX medium.en",
    quick=_QUICK,
    panels=(
        Panel(
            "a",
            "after Whisper's normaliser",
            "recogniser",
            (Row("word error rate", _RUN, "tv/wer", 11.8),),
            cited=(
                *(("Wav2Vec 2.0, Seinfeld", 45.0), ("Wav2Vec 2.0, Frasier", 36.9), ("Wav2Vec 2.0, Scrubs", 36.3)),
                *(("Whisper medium.en, Seinfeld", 13.2), ("Whisper medium.en, Frasier", 13.5)),
                ("Whisper medium.en, Scrubs", 10.6),
                *(("WhisperX medium.en, Frasier", 11.2), ("WhisperX medium.en, Scrubs", 9.2)),
            ),
        ),
    ),
)


def _points(kind: str) -> tuple[Row, ...]:
    points = tuple(
        Row(f"precision with {percent} % classified", _RUN, f"tv/curve_{kind}/precision_at_{percent}")
        for percent in (50, 75, 90, 100)
    )
    return (*points, Row("oracle: fraction classified", _RUN, f"tv/curve_{kind}/oracle"))


FIGURE_6_3 = Table(
    number="fig6.3",
    title="precision against the fraction of classified segments (§6.3.1); curves.svg in config.data.cache_dir",
    ours=_OURS,
    theirs="three series; the figure gives no numbers",
    quick=_QUICK,
    panels=(
        Panel(
            "a",
            "all segments",
            "point",
            _points("all"),
            (
                Claim(
                    "precision falls as more is classified",
                    (Above("precision with 50 % classified", "precision with 100 % classified", by=-1e-9),),
                ),
            ),
        ),
        Panel("b", "segments longer than 2 s", "point", _points("long")),
        Panel(
            "c",
            "all and long segments, everything classified",
            "segments",
            (
                Row("all", _RUN, "tv/curve_all/precision_at_100"),
                Row("longer than 2 s", _RUN, "tv/curve_long/precision_at_100"),
            ),
            (Claim("long segments are more often right", (Above("longer than 2 s", "all", by=-1e-9),)),),
        ),
    ),
)

TABLES = (TABLE_6_2, TABLE_6_3, TABLE_6_4, TABLE_6_5, FIGURE_6_3)
