"""The tables of thesis Ch. 6, measured on StoryWorld's held-out series."""

import itertools
from dataclasses import replace

from storyjax.reproduce.schema import Above, Claim, Panel, Row, Table, Variant, rising

_TV = "configs/subtitles_tv.py:embedded"
_RUN = Variant("tv", _TV, real=())
# Those of the thesis's three shows that StoryWorld's does not stand for.
_SHOWS = {
    show: Variant(
        show.lower(),
        _TV,
        real=(
            ("data.show", show),
            ("data.cast", f"cast_{show}.json"),
            ("data.cache_dir", f"runs/subtitles_{show.lower()}"),
        ),
    )
    for show in ("Frasier", "Scrubs")
}
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

_FACTS = {
    "episodes": "episodes",
    "minutes": "minutes",
    "characters": "characters",
    "speech, % of the time": "speech",
    "speakers of an episode, least": "speakers_min",
    "speakers of an episode, mean": "speakers_mean",
    "speakers of an episode, most": "speakers_max",
}


def _facts(head: str, variant: Variant, numbers: tuple[float, ...]) -> tuple[Row, ...]:
    """The rows of a show's annotations."""
    return tuple(
        Row(f"{head}{label}", variant, f"tv/data/{name}", value, scale=100.0 if name == "speech" else None)
        for (label, name), value in zip(_FACTS.items(), numbers, strict=True)
    )


_FURTHER = (
    *_facts("Frasier: ", _SHOWS["Frasier"], (6, 131, 29, 59.5, 6, 9.2, 12)),
    *_facts("Scrubs: ", _SHOWS["Scrubs"], (6, 122, 48, 67.9, 13, 15.7, 18)),
)
TABLE_6_1 = Table(
    number="6.1",
    title="what the evaluated shows hold (§6.2.2): counted in the annotations, no run's result",
    ours="StoryWorld (five held-out episodes, and ten by which thresholds are chosen)",
    theirs="Seinfeld",
    quick=_QUICK,
    scale=1.0,
    panels=(
        Panel(
            "a",
            "annotated episodes",
            "statistic",
            _facts("", _RUN, (6, 129, 36, 60.6, 6, 9.2, 12)),
            cited=tuple((row.label, row.thesis) for row in _FURTHER if row.thesis is not None),
            real_rows=_FURTHER,
        ),
    ),
)

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

# By the number of exemplars; the thesis's are those of Seinfeld's. A short season need not have as many characters.
_CHARACTERS = tuple(
    Row(f"audio filtering, {label}", _RUN, f"tv/exemplars/{key}/precision", thesis)
    for label, key, thesis in (
        ("most exemplars (Jerry)", "rank_1", 99.6),
        ("second (Elaine)", "rank_2", 100.0),
        ("third (George)", "rank_3", 100.0),
        ("fourth (Kramer)", "rank_4", 100.0),
        ("all others (21)", "others", 100.0),
    )
)

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
            tuple((row.label, row.thesis) for row in _CHARACTERS if row.thesis is not None),
            _CHARACTERS,
        ),
    ),
)

_MEASURES = {
    "DER": "der",
    "DER(O)": "der_overlap",
    "accuracy": "accuracy",
    "precision per character": "character_precision",
    "recall per character": "character_recall",
}
_OTHER_SHOWS = tuple(
    Row(f"{show}: {label}", _SHOWS[show], f"tv/{metric}", value)
    for show, numbers in (
        ("Frasier", (23.8, 24.3, 83.1, 93.3, 88.8)),
        ("Scrubs", (32.6, 36.4, 76.1, 88.3, 85.3)),
    )
    for (label, metric), value in zip(_MEASURES.items(), numbers, strict=True)
)

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
            tuple((row.label, row.thesis) for row in _OTHER_SHOWS if row.thesis is not None),
            _OTHER_SHOWS,
        ),
    ),
)


def _recognised(show: str, engine: str, label: str, thesis: float) -> Row:
    """The row of a recogniser on a show; the paper's config has WhisperX."""
    run = _SHOWS.get(show, _RUN)
    if engine != "whisperx":
        changes = (*(run.real or ()), ("model.recognition.engine", engine))
        run = replace(run, name=f"{run.name}_whisper", real=changes)
    return Row(f"{label} medium.en, {show}", run, "tv/wer", thesis)


# Whisper is run by faster-whisper, with a voice activity detector; storyjax has no Wav2Vec 2.0.
_RECOGNISED = tuple(
    _recognised(show, engine, label, thesis)
    for engine, label, numbers in (
        ("faster-whisper", "Whisper", (13.2, 13.5, 10.6)),
        ("whisperx", "WhisperX", (11.8, 11.2, 9.2)),
    )
    for show, thesis in zip(("Seinfeld", "Frasier", "Scrubs"), numbers, strict=True)
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
            (Row("word error rate", replace(_RUN, real=None), "tv/wer", 11.8),),
            cited=(
                *(("Wav2Vec 2.0, Seinfeld", 45.0), ("Wav2Vec 2.0, Frasier", 36.9), ("Wav2Vec 2.0, Scrubs", 36.3)),
                *((row.label, row.thesis) for row in _RECOGNISED if row.thesis is not None),
            ),
            real_rows=_RECOGNISED,
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

TABLES = (TABLE_6_1, TABLE_6_2, TABLE_6_3, TABLE_6_4, TABLE_6_5, FIGURE_6_3)
