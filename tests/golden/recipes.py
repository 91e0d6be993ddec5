"""Which runs have recorded numbers, and what makes each of them a run of seconds: keys of the config and their values.

A key is dotted and a value that is a dict takes the place of the whole section. Nothing else of a config is changed.
Every path in a small variant begins with "runs/" and is taken relative to the folder that a run is started in, so that
variants which name the same folder share its data: such variants ask for the same data here.
"""

from typing import Any

Overrides = dict[str, Any]

STEPS = 3

# Of every run.
EVERY: Overrides = {
    "train": {"steps": STEPS, "batch_size": 2},
    "optim.warmup_steps": 1,
    "eval": {"every": 0, "batch_size": 2},
    "checkpoint": {"every": 0},
    "log": {"every": 1, "tensorboard": False},
}

# Chapter 2: sequences and images of things that move. The configs' small detector takes half a minute to compile (the
# evaluation of the weights that ship has it), one of a few thousand weights ten seconds; those that learn from pairs
# learn alike, so that there is one program of them.
DETECTOR: Overrides = {
    "init": {"checkpoint": None},
    "model.mqt.detr.backbone.stem_width": 8,
    "model.mqt.detr.backbone.widths": (8, 8),
    "model.mqt.detr.backbone.depths": (1, 1),
    "model.mqt.detr.backbone.outputs": (0, 1),
    "model.mqt.detr.width": 16,
    "model.mqt.detr.mlp_width": 16,
    "model.mqt.detr.decoder_layers": 1,
    "model.mqt.detr.heads": 2,
    "model.mqt.detr.points": 2,
    "model.mqt.detr.levels": 2,
    "model.mqt.detr.queries": 6,
    "model.mqt.detr.groups": 2,
    "data.size": (32, 48),
}
ALIKE: Overrides = {**DETECTOR, "optim": {"learning_rate": 1e-3, "warmup_steps": 1, "weight_decay": 1e-4}}
FEW_SEQUENCES = {"counts": {"train": 1, "held_out": 1, "unseen": 1}}
FEW_PICTURES = {"counts": {"train": 4, "val": 2}}
MOT17: Overrides = {**ALIKE, "data.synthetic": {"mot17": FEW_SEQUENCES}}
MOT20: Overrides = {**ALIKE, "data.synthetic.mot20.counts": FEW_SEQUENCES["counts"]}
COCO: Overrides = {**DETECTOR, "data.synthetic": {"coco": FEW_PICTURES}}
CROWDHUMAN: Overrides = {**ALIKE, "data.synthetic": {"crowdhuman": FEW_PICTURES}}
TAO: Overrides = {**ALIKE, "data.synthetic": {"tao": {"counts": {"train": 1, "validation": 1}}}}

# Weights that ship, cut down to their first blocks: what compiling takes is most of what a few steps take. They lie in
# "weights/NAME" beside the data; here is what their config.json says otherwise.
CUT: dict[str, Overrides] = {
    "storyworld_clip": {"vision.depth": 1},
    "storyworld_t5": {"llm.num_layers": 1, "llm.num_decoder_layers": 1},
    "storyworld_t5_practised": {"llm.num_layers": 1, "llm.num_decoder_layers": 1},
    "tcr_storyworld": {"model.tcr.blocks": 1, "model.tcr.cross_attention_blocks": [0]},
    "tcr_storyworld_practised": {"model.tcr.blocks": 1, "model.tcr.cross_attention_blocks": [0]},
}
CUT_TCR: Overrides = {
    "model.tcr.blocks": 1,
    "model.tcr.cross_attention_blocks": (0,),
    "model.vision.weights": "weights/storyworld_clip",
    "model.llm.weights": "weights/storyworld_t5",
}
TUNED: Overrides = {**CUT_TCR, "init.checkpoint": "weights/tcr_storyworld"}
PRACTISED: Overrides = {
    **CUT_TCR,
    "model.llm.weights": "weights/storyworld_t5_practised",
    "init.checkpoint": "weights/tcr_storyworld_practised",
}
HEAD: Overrides = {
    **CUT_TCR,
    "model.llm.weights": "weights/storyworld_t5_practised",
    "model.tcr.weights": "weights/tcr_storyworld_practised",
}

# Chapter 3: videos with questions, narrations, captions, actions.
NEXTQA_COUNTS = {"train": 2, "val": 1, "test": 1}
NEXTQA: Overrides = {
    **TUNED,
    "data.tasks.nextqa.root": "runs/storyworld/nextqa",
    "data.tasks.nextqa.synthetic.counts": NEXTQA_COUNTS,
    "data.tasks.nextqa.frames": 8,
    "data.tasks.nextqa.cached": False,
}
YTTEMPORAL = {"train": 3, "val": 1}
EGOSCHEMA = {"train": 3, "test": 1}
EGO4D = {"train": 2, "val": 1}
MSRVTT = {"train": 2, "test": 1}
KINETICS = {"train": 8, "val": 2}
FOOTAGE: Overrides = {"data.train_stories": 2, "data.val_stories": 1}
ALIGNED: Overrides = {**CUT_TCR, "data.train": 2, "data.val": 1, "data.frames": 8}


def tasks(world: dict[str, int], *names: str) -> Overrides:
    """Of fine-tuning: so many videos and frames for each of these tasks."""
    return {
        f"data.tasks.{name}.{key}": value
        for name in names
        for key, value in (("synthetic.counts", world), ("frames", 8))
    }


# Chapter 4: photos and videos of people.
PEOPLE: Overrides = {
    "train.batch_size": 6,
    "data.synthetic": {
        "vggface": {"photos": 4, "people": 4},
        "vggface2": {"photos": 4, "test_people": 1, "people": 4},
        "cip": {"pictures": 4, "distractors": 1},
        "cia": {"train": 6, "val": 1, "test": 1, "faces": 2},
    },
}

# The auxiliary tasks of the small T5 and of the small TCR.
READING: Overrides = {
    "data.auxiliary_tasks.times.batch_size": 2,
    "data.auxiliary_tasks.telling.batch_size": 2,
    "data.auxiliary_tasks.ahead.batch_size": 2,
}

STEPPED: dict[str, Overrides] = {
    "clip_pad_cia:embedded": PEOPLE,
    "clip_pad_cip:embedded": PEOPLE,
    "clip_pad_vggface2:embedded": PEOPLE,
    "mqt_coco:embedded": COCO,
    "mqt_crowdhuman:embedded": CROWDHUMAN,
    "mqt_gmot40:embedded": {**COCO, **ALIKE},
    "mqt_mot17:embedded": MOT17,
    "mqt_mot17:storyworld": {**DETECTOR, "data.synthetic.mot20.counts": FEW_SEQUENCES["counts"]},
    "mqt_mot20:embedded": MOT20,
    "mqt_tao:embedded": TAO,
    "pi_map_cia:embedded": {"train.batch_size": 6, "data.synthetic": {"train": 12, "val": 1, "test": 1, "faces": 1}},
    "pi_map_deepfashion2:embedded": {
        "train.batch_size": 6,
        "data.synthetic.counts": {"garments": 4, "train": 3, "eval": 2},
    },
    "pi_map_imagenet:embedded": {"train.batch_size": 6, "data.synthetic.counts": {"train": 12, "val": 2}},
    "pi_map_thisismy:embedded": {
        "train.batch_size": 6,
        "data.synthetic.counts": {"instances": 4, "train": 3, "eval": 1, "test": 1},
    },
    "storyworld_clip:paper": FOOTAGE,
    "storyworld_clip:embedded": FOOTAGE,
    "storyworld_clip_generic:paper": {"data.stories": 4, "data.things": 4, "data.val": 2},
    "storyworld_clip_generic:embedded": {"data.stories": 4, "data.things": 4, "data.val": 2},
    "storyworld_faces:paper": {"data.synthetic": {"photos": 2, "test_people": 1}},
    "storyworld_faces:embedded": {"data.synthetic": {"photos": 2, "test_people": 1}},
    "storyworld_t5:paper": {},
    "storyworld_t5:embedded": {},
    "storyworld_t5:times": READING,
    # These two go on from runs of the variants before them, which takes the best part of an hour to make.
    "storyworld_t5:copying": {
        "data.copy_checkpoint": "shipped:storyworld_t5",
        "data.auxiliary_tasks.ahead.batch_size": 2,
    },
    "storyworld_t5:practised": {**READING, "init.checkpoint": "shipped:storyworld_t5"},
    "subtitles_laughter:embedded": {"data.train_episodes": 2, "data.episode_seconds": 8.0},
    "subtitles_sync:embedded": {"data.episodes.train_episodes": 1, "data.episodes.episode_seconds": 8.0},
    "subtitles_voices:embedded": {"data.voices_per_base": 1, "data.sentences_per_voice": 1},
    "tcr_countix:embedded": {
        **CUT_TCR,
        "data.synthetic.countix.counts": {"train": 1, "val": 1},
        "data.synthetic.kinetics400.counts": KINETICS,
        "data.frames": 16,
    },
    "tcr_ego4d_lta:embedded": {**PRACTISED, **tasks(EGO4D, "lta")},
    "tcr_ego4d_mq:embedded": {**PRACTISED, **tasks(EGO4D, "mq")},
    "tcr_ego4d_mq:standalone_embedded": {**HEAD, "data.synthetic.counts": EGO4D, "data.frames": 8},
    "tcr_ego4d_nlq:embedded": {**PRACTISED, **tasks(EGO4D, "nlq")},
    "tcr_ego4d_nlq:standalone_embedded": {**HEAD, "data.synthetic.counts": EGO4D, "data.frames": 8},
    "tcr_egoschema:embedded": {**TUNED, **tasks(EGOSCHEMA, "narration", "egoschema")},
    "tcr_kinetics:embedded": {**CUT_TCR, "data.synthetic.counts": KINETICS},
    "tcr_kinetics:selection_embedded": {
        **CUT_TCR,
        "data.synthetic.counts": KINETICS,
        "data.videos": 3,
        "data.most_frames": 8,
    },
    "tcr_msrvtt:embedded": {**TUNED, **tasks(MSRVTT, "msrvtt")},
    "tcr_multitask:embedded": {
        **PRACTISED,
        **tasks(EGOSCHEMA, "narration", "egoschema"),
        **tasks(EGO4D, "lta", "mq"),
        "data.tasks.nextqa.root": "runs/storyworld/nextqa",
        "data.tasks.nextqa.synthetic.counts": NEXTQA_COUNTS,
        "data.tasks.nextqa.frames": 8,
    },
    "tcr_nextqa:embedded": NEXTQA,
    "tcr_storyworld_init:paper": ALIGNED,
    "tcr_storyworld_init:embedded": ALIGNED,
    "tcr_storyworld_init:practised": {
        **ALIGNED,
        "model.llm.weights": "weights/storyworld_t5_practised",
        "init.checkpoint": "weights/tcr_storyworld",
        "data.auxiliary_tasks.broken_off.routines": 2,
        "data.auxiliary_tasks.routines.routines": 2,
    },
    "tcr_ytt_init:embedded": {**CUT_TCR, **tasks(YTTEMPORAL, "ytt")},
    "tcr_ytt_pretrain:embedded": {**TUNED, **tasks(YTTEMPORAL, "captioning", "grounding", "denoising")},
}

# Variants that are small by these names; of the configs that follow, `paper` is a run on StoryWorld, too.
SMALL = ("storyworld", "practised", "times", "copying")
PAPER_IS_STORYWORLD = (
    "mqt_series",
    "storyworld_clip",
    "storyworld_clip_generic",
    "storyworld_faces",
    "storyworld_t5",
    "subtitles_laughter",
    "subtitles_sync",
    "subtitles_voices",
    "tcr_storyworld_init",
)

# Small variants that are not stepped here, and why.
LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(
        ("mqt_series:paper", "mqt_series:embedded"),
        "its steps are those of mqt_mot17:storyworld, on other sequences and with a class head",
    ),
    "subtitles_laughter:paper": "the published network takes a quarter of a minute to compile; tests/parity has it",
    "subtitles_sync:paper": "the published network takes three minutes for three steps; tests/parity has it",
    "subtitles_voices:paper": "the published network takes half a minute to compile; tests/parity has it",
    "subtitles_tv:embedded": "it trains nothing: its networks are given, and one number is searched for",
}

# The weights that ship: the variant that measures them, and what it needs to do so.
SHIPPED: dict[str, tuple[str, Overrides]] = {
    "clip_pad_storyworld": ("clip_pad_cia:embedded", {}),
    "mqt_storyworld": ("mqt_mot17:embedded", {}),
    "mqt_storyworld_series": ("mqt_series:paper", {"init.skip": None}),
    "pi_map_storyworld": ("pi_map_imagenet:embedded", {}),
    "storyworld_clip": ("storyworld_clip:paper", {"data.train_stories": 0}),
    "storyworld_clip_generic": ("storyworld_clip_generic:paper", {}),
    "storyworld_faces": ("storyworld_faces:paper", {"init.skip": "people/.*"}),
    "storyworld_laughter": ("subtitles_laughter:embedded", {}),
    "storyworld_sync": ("subtitles_sync:embedded", {}),
    "storyworld_t5": ("storyworld_t5:paper", {"init.skip": "pointer/.*"}),
    "storyworld_t5_practised": ("storyworld_t5:practised", {"init.skip": "pointer/.*"}),
    "storyworld_voices": ("subtitles_voices:embedded", {"init.skip": "speakers/.*"}),
    "tcr_countix_storyworld": ("tcr_countix:embedded", {}),
    "tcr_nextqa_storyworld": ("tcr_nextqa:embedded", {"data.tasks.nextqa.cached": False}),
    "tcr_storyworld": ("tcr_storyworld_init:paper", {"data.train": 0}),
    "tcr_storyworld_practised": ("tcr_storyworld_init:practised", {"data.train": 0}),
}

# Networks that ship alone, without the module's name before their parameters' paths: what it is in training.
ALONE = {
    "storyworld_faces": "face",
    "storyworld_laughter": "laughter",
    "storyworld_sync": "lwtnet",
    "storyworld_voices": "voice",
}

SHORT: dict[str, Overrides] = {
    "clip_pad_storyworld": {
        "data.synthetic": {
            "vggface2": {"photos": 2, "test_people": 1},
            "cia": {"train": 36, "val": 1, "test": 56, "faces": 2},
        }
    },
    "mqt_storyworld": {"data.synthetic": {"mot17": FEW_SEQUENCES}},
    "mqt_storyworld_series": {
        "data.synthetic.series_tracks": {"counts": {"train": 1, "held_out": 1}, "seconds": 10.0},
    },
    "pi_map_storyworld": {"data.synthetic.counts": {"train": 8, "val": 20}},
    "storyworld_clip": {"data.val_stories": 2},
    "storyworld_clip_generic": {"data.val": 2, "eval.batch_size": 2},
    "storyworld_faces": {"data.synthetic": {"photos": 4, "test_people": 10}},
    "storyworld_laughter": {"data.test_episodes": 1, "data.episode_seconds": 10.0, "data.windows_per_episode": 48},
    "storyworld_sync": {"data.episodes": {"test_episodes": 1, "episode_seconds": 16.0}},
    "storyworld_t5": {"data.validation_stories": 5},
    "storyworld_t5_practised": {
        "data.validation_stories": 5,
        "data.auxiliary_tasks.times.validation_stories": 5,
        "data.auxiliary_tasks.telling.validation_stories": 5,
        "data.auxiliary_tasks.ahead.validation_stories": 5,
    },
    "storyworld_voices": {"data.test_sentences": 3},
    "tcr_countix_storyworld": {"data.synthetic.countix.counts": {"train": 1, "val": 8}},
    "tcr_nextqa_storyworld": {"data.tasks.nextqa.synthetic.counts": {"train": 1, "val": 1, "test": 3}},
    "tcr_storyworld": {"data.val": 2, "eval.batch_size": 2},
    "tcr_storyworld_practised": {
        "data.val": 2,
        "eval.batch_size": 2,
        "data.auxiliary_tasks.broken_off.routines": 1,
        "data.auxiliary_tasks.broken_off.val": 2,
        "data.auxiliary_tasks.routines.routines": 1,
        "data.auxiliary_tasks.routines.val": 2,
    },
}

# As each folder's results.json was made, but for data that only training reads.
LONG: dict[str, Overrides] = {
    "clip_pad_storyworld": {},
    "mqt_storyworld": {"data.synthetic.mot17.counts.train": 1},
    "mqt_storyworld_series": {"data.synthetic.series_tracks.counts.train": 1},
    "pi_map_storyworld": {"data.synthetic.counts.train": 100},
    "storyworld_clip": {},
    "storyworld_clip_generic": {},
    "storyworld_faces": {},
    "storyworld_laughter": {},
    "storyworld_sync": {},
    "storyworld_t5": {},
    "storyworld_t5_practised": {},
    "storyworld_voices": {},
    "tcr_countix_storyworld": {"data.synthetic.countix.counts.train": 1},
    "tcr_nextqa_storyworld": {
        "data.tasks.nextqa.synthetic.counts.train": 1,
        "data.tasks.nextqa.synthetic.counts.val": 1,
    },
    "tcr_storyworld": {},
    "tcr_storyworld_practised": {
        "data.auxiliary_tasks.broken_off.routines": 1,
        "data.auxiliary_tasks.routines.routines": 1,
    },
}
