"""Named subtitles of a TV series (thesis Ch. 6; Tables 6.2 to 6.5, Fig. 6.3).

    python -m storyjax.main --config=configs/subtitles_tv.py:embedded --workdir=runs/tv --mode=eval
    python -m storyjax.main --config=configs/subtitles_tv.py --workdir=runs/seinfeld --mode=eval

`paper`: five episodes of Seinfeld, Frasier or Scrubs (config.data.show), annotated as the authors publish it, with
config.data.cast naming photos of everybody; large networks are given as config.data.pipeline.voices and so on.
`embedded`: five held-out episodes of StoryWorld of two minutes, recognised by Whisper tiny.en, with the small networks
that come with storyjax. About 10 minutes on two CPU cores; what was run is kept in config.data.work.

`--mode=train` chooses the distance beyond which a voice is unknown on validation episodes, as §6.1.4 does by a search,
and then evaluates. These are the sixth episode of a published show, and whole seasons of StoryWorld that are never
tested (config.data.storyworld.validation: their seeds). `--mode=eval` takes the distance that was found there.

Results are tv/accuracy, tv/der, tv/der_overlap, tv/exemplar_precision, tv/exemplar_yield, tv/wer, tv/extra_unknown,
tv/steps/STEP/{count,yield,precision}, tv/curve_*; curves.svg in config.data.work (of StoryWorld in the seed's folder
there) is Fig. 6.3.
"""

from ml_collections import ConfigDict

from storyjax.subtitles.command import BY_PHOTOS

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"variants are {', '.join(VARIANTS)}, not {variant}")
    config = ConfigDict(
        {
            "experiment": "subtitles",
            "seed": 0,
            "train": {"steps": 300, "batch_size": 64},
            "optim": {"learning_rate": 0.01, "warmup_steps": 0, "weight_decay": 0.0},
            "eval": {"every": 300, "batch_size": 1},
            "checkpoint": {"every": 300},
            "data": {
                "root": "data/look-listen-recognise",
                "show": "Seinfeld",
                "cast": "cast_Seinfeld.json",
                "name": "tv",
                "work": "runs/subtitles_tv",
                "pipeline": {"recognition": {"model": "medium.en"}},
            },
        }
    )
    if variant == "embedded":
        config.data = ConfigDict(
            {
                "root": "runs/storyworld/series",
                "show": "StoryWorld",
                "cast": "cast.json",
                "name": "tv",
                "work": "runs/subtitles_tv_storyworld",
                "storyworld": {"episodes": 5, "seconds": 120.0, "validation": (1000, 1001)},
                # Two people in a shot are half of it apart, people are told apart by faces rather than by what they
                # wear, and a character has a handful of exemplars, not dozens (storyjax/subtitles/README.md).
                "pipeline": {"recognition": {"model": "tiny.en"}, **BY_PHOTOS},
            }
        )
    return config
