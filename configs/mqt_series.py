"""The MQT of StoryWorld's series, which ships as storyjax/weights/shipped/mqt_storyworld_series: people and things.

    python -m storyjax.main --config=configs/mqt_series.py --workdir=runs/mqt_series

It starts from the shipped mqt_storyworld, whose training shows small figures in broad images, and learns the close-ups
of a series (`storyjax data series`): whole people and particular things, with a class for each, in square images. All
data are synthetic; it knows StoryWorld alone.

| variant | what | hardware | expected |
|---|---|---|---|
| paper | the recipe of the shipped weights: 300 episodes of a minute | two CPU cores, 24 to 34 minutes | \
see docs/results/mqt.md |
| embedded | the same at a size for tests | one CPU core, a minute | |

Results: `series_tracks/{mota,idf1,hota,...}` of the shots of held-out episodes, at five images a second.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import storyworld_data, storyworld_model

VARIANTS = ("paper", "embedded")


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant of VARIANTS."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "float32"
    config.model = ConfigDict(storyworld_model())
    config.model.mqt.detr.classes = 2
    config.model.labels = ("person", "thing")
    # Whoever returns in another shot is recognised by appearance alone: far pairs, and negatives of other episodes.
    config.model.loss.negative_weight = 1.0
    config.model.loss.batch_negatives = True
    arguments = {"counts": {"train": 300, "held_out": 2}}
    splits = ("series_tracks:held_out",)
    config.data = ConfigDict(storyworld_data("series_tracks", "pairs", splits, series_tracks=arguments))
    config.data.unseen = ()
    config.data.held_out = ("*-8???-*",)
    config.data.size = (128, 128)
    config.data.max_gap, config.data.far_gap, config.data.far_prob, config.data.mirror_prob = 2, 30, 0.4, 0.2
    config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld", "skip": "class_head/.*"})
    config.train = ConfigDict({"steps": 4000, "batch_size": 8})
    config.optim = ConfigDict({"learning_rate": 8e-4, "warmup_steps": 50, "weight_decay": 1e-4})
    config.eval = ConfigDict({"every": 0, "batch_size": 16})
    config.checkpoint = ConfigDict({"every": 250})
    if variant == "embedded":
        config.data.synthetic.series_tracks = {"counts": {"train": 4, "held_out": 1}, "seconds": 20.0}
        config.data.root.series_tracks = "runs/storyworld/series_tracks_small"
        config.train = ConfigDict({"steps": 40, "batch_size": 4})
    return config
