"""Named subtitles of a TV series (thesis Ch. 6; Tables 6.2 to 6.5, Fig. 6.3).

    python -m storyjax.main --config=configs/subtitles_tv.py:embedded --workdir=runs/tv

`paper`: five episodes of Seinfeld, Frasier or Scrubs (config.data.show), annotated as the authors publish it, with
config.data.cast naming photos of everybody; needs WhisperX and published networks in the models folder, and a CLIP-PAD:

    pip install whisperx
    storyjax models get speech --model whisper-medium.en && storyjax models get voices sync laughter
    python -m storyjax.main --config=configs/clip_pad_vggface2.py --workdir=runs/clip_pad_vggface2

What is missing is named in one line before anything is computed; not run.
`embedded`: five held-out episodes of StoryWorld of two minutes, recognised by Whisper tiny.en, with the small networks
that come with storyjax. About 10 minutes on two CPU cores, and twice as much again for the ten validation episodes; the
results of all stages are kept in config.data.cache_dir.

Nothing is trained. The distance beyond which a voice is unknown is searched for on the validation episodes (§6.1.4):
the sixth episode of a published show, or seasons of StoryWorld that are never tested (config.data.validation_seeds).
`--config.data.train_split=None` takes config.model.distance instead, without looking at them.
`embedded_grid`: other thresholds are searched for there too, in a grid (config.data.grid), each with its best distance;
results then are tv/chosen/THRESHOLD too. A grid of its own is set in the same way for a published show.

Results are tv/accuracy, tv/der, tv/der_overlap, tv/exemplar_precision, tv/exemplar_yield, tv/wer, tv/extra_unknown,
tv/distance, tv/steps/STEP/{count,yield,precision}, tv/curve_*; curves.svg in config.data.cache_dir (of StoryWorld in
the seed's folder there) is Fig. 6.3.

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:1x1.
"""

from ml_collections import ConfigDict

from storyjax.subtitles.config import BY_PHOTOS

VARIANTS = ("paper", "embedded", "embedded_grid")
TOPOLOGIES = {"paper": "v5e:1x1"}


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    if variant not in VARIANTS:
        raise ValueError(f"variants are {', '.join(VARIANTS)}, not {variant}")
    config = ConfigDict(
        {
            "experiment": "subtitles",
            "seed": 0,
            # Table 6.5: WhisperX, medium.en. What "models:" stands for is in the models folder.
            "model": {
                "recognition": {"engine": "whisperx", "model": "models:speech"},
                "speaker_encoder": {"weights": "models:voices"},
                "lwtnet": {"weights": "models:sync"},
                "laughter": {"weights": "models:laughter"},
                "clip_pad": {"weights": "runs/clip_pad_vggface2"},
            },
            "data": {
                "dataset": "look_listen_recognise",
                "root": "data/look-listen-recognise",
                "show": "Seinfeld",
                "cast": "cast_Seinfeld.json",
                "cache_dir": "runs/subtitles_tv",
                "train_split": "val",
                "eval_splits": ("test",),
                "synthetic": None,
                "validation_seeds": (),
            },
        }
    )
    if variant != "paper":
        # Two people in a shot are half of it apart, faces distinguish people better than clothes, and a character has a
        # handful of exemplars, not dozens (docs/results/subtitles.md).
        config.model = ConfigDict({"recognition": {"model": "tiny.en"}, **BY_PHOTOS})
        config.data = ConfigDict(
            {
                "dataset": "look_listen_recognise",
                "root": "runs/storyworld/series",
                "show": "StoryWorld",
                "cast": "cast.json",
                "cache_dir": "runs/subtitles_tv_storyworld",
                "train_split": "val",
                "eval_splits": ("test",),
                "synthetic": {"episodes": 5, "seconds": 120.0},
                "validation_seeds": (1000, 1001),
            }
        )
    if variant == "embedded_grid":
        config.data.grid = {"peak_threshold": (0.6, 0.7, 0.8), "min_cosine": (0.55, 0.65, 0.75)}
    return config
