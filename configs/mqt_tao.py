"""MQT on TAO, user-initialised ("init first"), and on TAO-person (thesis §2.6.1, §2.6.2, Tables 2.2, 2.4 and 2.7).

    python -m storyjax.main --config=configs/mqt_tao.py:embedded --workdir=runs/mqt_tao --mode=eval
    python -m storyjax.main --config=configs/mqt_tao.py --workdir=DIR (the paper's; needs data and the COCO pairs run)
    python -m storyjax.main --config=configs/mqt_tao.py:maskrcnn --workdir=DIR --mode=eval (needs the paper's run)
    python -m storyjax.main --config=configs/mqt_tao.py:person --workdir=DIR --mode=eval (needs the MOT17 run)

All frames of a video are tracked through, and the annotated ones scored; max_age is longer than any video, since each
object is tracked to the end of its video (§2.6.2).

| variant | what | hardware | expected |
|---|---|---|---|
| paper | from `configs/mqt_coco.py:pairs`, 10 epochs of TAO at 1e-5 for all modules; absent below 0.65 | TPU or GPU, \
batch 32 | Track mAP 32.11 (Table 2.4, ours) |
| maskrcnn | the paper's run, helped by the boxes of a Mask R-CNN in data/detections/tao_maskrcnn (as \
storyjax/mqt/external_detections.py says) | the same | Track mAP 39.62 (Table 2.4, ours + Mask R-CNN) |
| person | the model of `configs/mqt_mot17.py` on people alone, who are given by the private detections in \
data/detections/tao_person; τ_conf 0.80, τ_agree 0.2 | the same | MOTA 71.9, IDF1 69.6 (Table 2.2) |
| person_search | the linear search on the training set that found both, 5-fold cross-validated | the same | \
0.80, 0.2 (Table 2.7) |
| detr, detr_person, detr_person_search | the same from `configs/mqt_coco.py:detr_pairs` and \
`configs/mqt_mot17.py:detr` | the same | not in the thesis |
| embedded | the same code on StoryWorld's sequences, from the shipped weights (mqt_storyworld) | two CPU cores, \
minutes | see storyjax/mqt/README.md |

TPU slices (docs/results/full_size.md: what is compiled so far): paper v5e:4x8; maskrcnn v5e:4x8; person v5e:4x8;
person_search v5e:4x8; detr v5e:4x8; detr_person v5e:4x8; detr_person_search v5e:4x8.
"""

from ml_collections import ConfigDict

from storyjax.mqt.presets import PHOTOGRAPHS, paper_model, storyworld_data, storyworld_model, use_published

VARIANTS = ("paper", "maskrcnn", "person", "person_search", "detr", "detr_person", "detr_person_search", "embedded")
TOPOLOGIES = {
    "paper": "v5e:4x8",
    "maskrcnn": "v5e:4x8",
    "person": "v5e:4x8",
    "person_search": "v5e:4x8",
    "detr": "v5e:4x8",
    "detr_person": "v5e:4x8",
    "detr_person_search": "v5e:4x8",
}

_WHOLE_VIDEO = 100_000  # frames


def get_config(variant: str = "paper") -> ConfigDict:
    """Returns the config of a variant."""
    config = ConfigDict()
    config.experiment = "mqt"
    config.seed = 0
    config.precision = "bfloat16"
    thresholds = {"match_threshold": 0.65, "agreement_threshold": 0.1}
    config.model = ConfigDict(paper_model(protocol="user", min_hits=1, max_age=_WHOLE_VIDEO, **thresholds))
    config.data = ConfigDict({"dataset": "tao", "mode": "pairs", "eval_splits": ("tao:validation",)})
    config.data.update(PHOTOGRAPHS)
    config.init = ConfigDict({"checkpoint": "runs/mqt_coco_pairs"})
    config.train = ConfigDict({"epochs": 10, "batch_size": 32})
    config.optim = ConfigDict({"learning_rate": 1e-5, "schedule": "constant", "weight_decay": 1e-4, "clip_norm": 0.1})
    config.eval = ConfigDict({"every": 0})
    if variant == "maskrcnn":
        config.init.checkpoint = "runs/mqt_tao"
        config.data.detector, config.data.detections_dir = "external", "data/detections/tao_maskrcnn"
    if "person" in variant:
        config.data.only = "person"
        config.init.checkpoint = "runs/mqt_mot17"
        # "Private+": tracks start from the boxes of a detector of its own (§2.6.2), the one that Tracktor++ uses too.
        config.data.detector, config.data.detections_dir = "external", "data/detections/tao_person"
        config.model.tracker.protocol, config.model.tracker.max_age = "public", 30
        config.model.tracker.match_threshold, config.model.tracker.agreement_threshold = 0.80, 0.2
    if variant.endswith("person_search"):
        config.model.search = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
        config.model.search_agreement = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    use_published(config, variant)
    if variant == "embedded":
        config.precision = "float32"
        config.model = ConfigDict(
            storyworld_model(protocol="user", match_threshold=0.65, min_hits=1, max_age=_WHOLE_VIDEO)
        )
        config.data = ConfigDict(storyworld_data("tao", "pairs", ("tao:validation",)))
        config.init = ConfigDict({"checkpoint": "shipped:mqt_storyworld"})
        config.train = ConfigDict({"steps": 200, "batch_size": 8})
        config.optim = ConfigDict({"learning_rate": 2e-4, "warmup_steps": 20, "weight_decay": 1e-4})
        config.eval = ConfigDict({"every": 0, "batch_size": 16})
    return config
