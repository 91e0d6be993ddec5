"""Presets of the configs of Chapter 2: the optimiser of §2.6.1, the StoryWorld data sets, and a model for these."""

from typing import Any

from ml_collections import ConfigDict

# How images fit (config.MqtData). The thesis does not say; for photographs, upright and broad, it is as Deformable DETR
# does (Zhu et al. 2021), in images that hold both; MOTChallenge's frames are broad, and people in them are small.
PHOTOGRAPHS = {"size": (1344, 1344), "shorter": 800, "longer": 1333}
BROAD_FRAMES = {"size": (800, 1440), "shorter": 800, "longer": 1440}
# The folder of StoryWorld's data sets, which all embedded configs share.
_WORLD = "runs/storyworld"


def paper_optim(boundaries: tuple[float, ...], backbone: float = 0.1) -> dict[str, Any]:
    """Returns `config.optim`: 1e-4, `backbone` times that for the backbone, a tenth after each of `boundaries`.

    The thesis specifies nothing else; weight decay and clipping are Deformable DETR's.

    Args:
        boundaries: fractions of the run.
        backbone: the factor of the backbone's learning rate.
    """
    return {
        "learning_rate": 1e-4,
        "schedule": "step",
        "boundaries": boundaries,
        "weight_decay": 1e-4,
        "clip_norm": 0.1,
        "lr_multipliers": (("pyramid/backbone/.*", backbone),),
    }


def paper_model(**tracker: Any) -> dict[str, Any]:
    """Returns `config.model` of the thesis's MQT and tracker (§2.3, §2.6.1).

    det queries do not see the others, of which training makes some from the truth. They cannot know which objects are
    tracked then, so they learn all of them, not the lost and new ones alone (§2.3.2): they compete for current tracks,
    too (§2.3.1). Five hypotheses with multi-query confirmation (Table 2.6b). Tracks of det queries are confirmed
    by a second frame (§2.6.2, private); those of given boxes need none. There is room for the crowds of MOT17-03 and
    those of them who are lost for a while.

    Args:
        tracker: fields of the tracker that differ, such as the thresholds of Table 2.7.
    """
    common = {"hypotheses": 5, "multi_query": True, "min_hits": 2, "max_tracks": 150, "max_detections": 150}
    return {"mqt": {"isolate_det": True}, "loss": {"det_targets": "all"}, "tracker": {**common, **tracker}}


def use_published(config: ConfigDict, variant: str) -> None:
    """Sets what a config of the paper starts from; all stages name the same, whose frozen layers no checkpoint holds.

    That is a ResNet-50. In variants that start with "detr" it is a whole Deformable DETR with box refinement as its
    authors published it (Zhu et al. 2021): MLPs of 1024, where the thesis has 2048 (§2.6.1), and 300 det queries, which
    are the published ones; their stages follow one another in folders of their own.
    """
    config.model.weights = "weights/resnet-50"
    if not variant.startswith("detr"):
        return
    config.model.weights = "weights/deformable-detr-r50-refine"
    published = {"mlp_width": 1024, "box_refine": True, "queries": 300, "classes": 0, "loop_layers": True}
    config.model.mqt = ConfigDict({**config.model.mqt, "detr": published, "point_size": 0.5})
    if "init" in config and config.init.checkpoint is not None:
        config.init.checkpoint += "_detr"
        if config.init.get("skip") == "queries":
            del config.init["skip"]


def storyworld_model(**tracker: Any) -> dict[str, Any]:
    """Returns `config.model` of an MQT of 0.35 M parameters, from scratch, for images of 96 × 160.

    A model this small is better if det queries learn all objects and do not attend to tracks: their detections are then
    the same as without any tracks, and there is less to learn.

    Args:
        tracker: fields of the tracker that differ.
    """
    backbone = {"stem_width": 16, "widths": (24, 32, 48, 64), "depths": (1, 1, 1, 1), "block": "basic", "norm": "group"}
    detr = {
        "backbone": backbone,
        "width": 64,
        "mlp_width": 128,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "heads": 4,
        "points": 4,
        "levels": 3,
        "queries": 24,
        "classes": 0,
        "box_refine": True,
        "dropout": 0.0,
        "groups": 8,
        "size_bias": 0.0,
    }
    return {
        "mqt": {"detr": detr, "isolate_det": True},
        "loss": {"det_targets": "all"},
        "tracker": {
            "match_threshold": 0.45,
            "agreement_threshold": 0.1,
            "max_tracks": 16,
            "max_detections": 16,
            "birth_threshold": 0.6,
            "nms_iou": 0.4,
            **tracker,
        },
    }


def storyworld_data(
    dataset: str,
    mode: str,
    eval_splits: tuple[str, ...] = ("mot17:held_out", "mot17:unseen"),
    **synthetic: dict[str, Any],
) -> dict[str, Any]:
    """Returns `config.data` of StoryWorld's data sets.

    Args:
        dataset, mode, eval_splits: see config.MqtData; every split is named with its data set.
        synthetic: by data set, arguments of its exporter, over the defaults.
    """
    arguments = {"mot17": {"counts": {"train": 60, "held_out": 8, "unseen": 8}}, **synthetic}
    names = sorted({dataset, *(split.partition(":")[0] for split in eval_splits)})
    return {
        "dataset": dataset,
        "mode": mode,
        "eval_splits": eval_splits,
        "synthetic": {name: arguments.get(name, {}) for name in names},
        "root": {name: f"{_WORLD}/{name}" for name in names},
        "cache_dir": f"{_WORLD}/prepared_tracks",
        "held_out": ("*-8???",),
        "unseen": ("*-9???",),
        "size": (96, 160),
        "max_objects": 12,
        "max_gap": 5,
    }
