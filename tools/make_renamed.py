"""Writes docs/renamed.md: modules and config keys of version 0.1 under today's names.

    python tools/make_renamed.py

Keys come from storyjax/core/renamed_keys.py, which is also what loads old runs; modules from MODULES below.
tests/test_documentation.py fails where the page is older than either.
"""

from pathlib import Path

from storyjax.core import renamed_keys

PAGE = Path(__file__).parents[1] / "docs/renamed.md"
INTRODUCTION = """\
# Renamed since version 0.1

<!-- Written by tools/make_renamed.py; edit that. -->

Runs, checkpoints and shipped models that say the old names still load: their configs are translated when they are
read. On the command line an old key is an error that names the new one. Parameter paths, the keys of `results.json` and
the names of shipped models have not changed.
"""
# Old and new path in storyjax/
MODULES = dict(
    line.split(" ")
    for line in """\
cli.py cli/main.py
clip_pad/bank.py clip_pad/feature_cache.py
clip_pad/benchmarks.py clip_pad/eval_benchmarks.py
commands/ask.py cli/ask.py
commands/data.py cli/data.py
commands/find.py cli/find.py
commands/plan.py cli/plan.py
commands/reproduce.py cli/reproduce.py
commands/subtitle.py cli/subtitle.py
commands/track.py cli/track.py
commands/weights.py cli/weights.py
configuration.py core/config.py
errors.py core/errors.py
ledger/clip_pad.py reproduce/tables/clip_pad.py
ledger/entries.py reproduce/schema.py
ledger/mqt.py reproduce/tables/mqt.py
ledger/mqt_supplement.py reproduce/tables/mqt_supplement.py
ledger/pi_map.py reproduce/tables/pi_map.py
ledger/plot.py reproduce/plot.py
ledger/report.py reproduce/report.py
ledger/runs.py reproduce/runner.py
ledger/subtitles.py reproduce/tables/subtitles.py
ledger/tcr.py reproduce/tables/tcr.py
ledger/tcr_standalone.py reproduce/tables/tcr_standalone.py
ledger/tcr_tasks.py reproduce/tables/tcr_tasks.py
mqt/baseline.py mqt/iou_tracker.py
mqt/evaluate.py mqt/eval_tracking.py
mqt/measure.py mqt/eval_detection.py
mqt/measure_queries.py mqt/eval_queries.py
mqt/recipes.py mqt/presets.py
mqt/sources.py mqt/datasets.py
nn/campplus.py models/campplus.py
nn/clip.py models/clip.py
nn/closed_vocabulary.py models/answer_scoring.py
nn/deformable.py nn/deformable_attention.py
nn/deformable_detr.py models/deformable_detr.py
nn/ecapa.py models/ecapa.py
nn/laughter.py models/laughter.py
nn/lwtnet.py models/lwtnet.py
nn/matching.py nn/hungarian.py
nn/pixels.py nn/image_normalisation.py
nn/qformer.py models/qformer.py
nn/resnet.py models/resnet.py
nn/seresnet.py models/seresnet.py
nn/siglip.py models/siglip.py
nn/t5.py models/t5.py
nn/vit.py models/vit.py
search/page.py search/html_report.py
search/personal.py search/protocol.py
search/searching.py search/query.py
storyworld/actor.py storyworld/draw/actor.py
storyworld/album.py storyworld/export/album.py
storyworld/belongings.py storyworld/draw/personal_objects.py
storyworld/cast.py storyworld/story/cast.py
storyworld/celebrities.py storyworld/export/celebrities.py
storyworld/deepfashion2.py storyworld/export/deepfashion2.py
storyworld/descriptions.py storyworld/story/descriptions.py
storyworld/dramatic_acts.py storyworld/draw/mishap_actions.py
storyworld/episode_film.py storyworld/render/episode_video.py
storyworld/episodes.py storyworld/story/episodes.py
storyworld/exports.py storyworld/export/export_once.py
storyworld/faces.py storyworld/draw/faces.py
storyworld/footage.py storyworld/render/video_cache.py
storyworld/imagenet.py storyworld/export/imagenet.py
storyworld/language.py storyworld/story/language.py
storyworld/lines.py storyworld/story/dialogue.py
storyworld/long_videos.py storyworld/export/long_videos.py
storyworld/movers.py storyworld/draw/moving_objects.py
storyworld/nextqa.py storyworld/export/nextqa.py
storyworld/ordinary_acts.py storyworld/draw/everyday_actions.py
storyworld/pen.py storyworld/draw/canvas.py
storyworld/people.py storyworld/draw/people.py
storyworld/population.py storyworld/story/population.py
storyworld/practice.py embedded/sequence_tasks.py
storyworld/questions.py storyworld/story/questions.py
storyworld/render.py storyworld/render/render.py
storyworld/requests.py embedded/alignment_prompts.py
storyworld/routines.py storyworld/story/routines.py
storyworld/scenery.py storyworld/draw/scenery.py
storyworld/season.py storyworld/export/season.py
storyworld/series.py storyworld/export/series.py
storyworld/sounds.py storyworld/render/sounds.py
storyworld/speech.py storyworld/render/speech.py
storyworld/sprites.py storyworld/draw/sprites.py
storyworld/stage.py storyworld/story/stage.py
storyworld/stills.py storyworld/draw/stills.py
storyworld/story.py storyworld/story/story.py
storyworld/things.py storyworld/draw/things.py
storyworld/thisismy.py storyworld/export/thisismy.py
storyworld/tracks.py storyworld/story/tracks.py
storyworld/tracks_mot.py storyworld/export/tracks_mot.py
storyworld/tracks_pictures.py storyworld/export/tracks_pictures.py
storyworld/vehicles.py storyworld/draw/vehicles.py
storyworld/vocabulary.py storyworld/story/vocabulary.py
storyworld/world.py storyworld/render/world.py
subtitles/laughter.py subtitles/laughter_detector.py
subtitles/products.py subtitles/records.py
subtitles/published.py subtitles/annotations.py
subtitles/sync.py subtitles/av_sync.py
subtitles/training/episodes.py embedded/episode_arrays.py
subtitles/training/laughter.py embedded/laughter_detector.py
subtitles/training/sync.py embedded/av_sync.py
subtitles/training/voices.py embedded/speaker_encoder.py
subtitles/tv.py subtitles/experiment.py
subtitles/voices.py subtitles/speaker_encoder.py
tcr/align.py embedded/tcr_alignment.py
tcr/baseline.py tcr/qformer_baseline.py
tcr/data.py tcr/loader.py
tcr/discriminative.py tcr/heads/experiment.py
tcr/finetune.py tcr/experiment.py
tcr/halves.py tcr/unimodal.py
tcr/losses.py tcr/objective.py
tcr/patches.py tcr/patch_dropout.py
tcr/practice.py embedded/tcr_sequences.py
tcr/pretrain.py tcr/contrastive.py
tcr/recipes.py tcr/tasks.py
tcr/scoring.py tcr/evaluators.py
tcr/standalone.py tcr/heads/modules.py
tcr/standalone_data.py tcr/heads/data.py
tcr/stream.py tcr/frame_stream.py
tcr/telling.py tcr/predict_tasks.py
tcr/words.py embedded/tcr_clip_init.py
towers/clip.py embedded/clip.py
towers/faces.py embedded/face_encoder.py
towers/generic_clip.py embedded/clip_generic.py
towers/t5.py embedded/t5.py
towers/t5_practice.py embedded/t5_sequences.py
train/feed.py train/batches.py
train/hlo_cost.py plan/hlo_cost.py
train/plan.py plan/compile.py
train/plan_report.py plan/report.py
train/start.py train/initial_state.py
train/tpu.py plan/tpu.py
weights/audio.py weights/tables/audio.py
weights/detr.py weights/tables/deformable_detr.py
weights/exporting.py weights/export_run.py
weights/faces.py weights/tables/face.py
weights/families.py weights/model_family.py
weights/importing.py weights/import_weights.py
weights/published.py weights/registry.py
weights/published_audio.py weights/registry_audio.py
weights/sources.py weights/source_files.py
weights/standalone.py weights/stablehlo_runner.py
weights/tables.py weights/tables/vision_language.py
weights/tree_io.py core/params_io.py
""".splitlines()
)


# Public names of Python that users of the package may have written down.
PYTHON = {
    "Predictor.from_checkpoint(path)": "Predictor.from_pretrained(place), and likewise of the other predictors",
    "Evaluator.measure, accumulate, finish": "Evaluator.eval_step, accumulate, compute",
    "Planned, Task.planned": "BatchSpec, Task.batch_spec",
    "Feed": "TaskBatches",
    "Start, starting_point": "InitialState, restore_or_init",
    "check_given": "validate_params",
    "Personaliser": "ConceptEncoder",
    "storyjax.configuration": "storyjax.core.config",
    "storyjax.errors": "storyjax.core.errors",
}


def page() -> str:
    """Returns the text of the page."""
    lines = [INTRODUCTION, "## Experiments", "", "| `config.experiment` in 0.1 | now |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in sorted(renamed_keys.EXPERIMENTS.items())]
    lines += ["", "## Config keys", "", "`*` stands for any one name.", "", "| in 0.1 | now | where |", "|---|---|---|"]
    keys = {(each.old, each.new, _where(each.experiments)) for each in renamed_keys.RENAMES}
    keys |= {(old, new, "everywhere") for old, new in renamed_keys.CONVERTED.items()}
    lines += [f"| `{old}` | `{new}` | {where} |" for old, new, where in sorted(keys)]
    lines += ["", "## Python", "", "| in 0.1 | now |", "|---|---|"]
    lines += [f"| `{old}` | {_code(new)} |" for old, new in PYTHON.items()]
    lines += ["", "## Modules", "", "| `storyjax/` in 0.1 | now |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in sorted(MODULES.items())]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """A name, and what is said of it after a comma, if anything."""
    name, comma, remark = text.partition(", and ")
    return f"`{name}`{comma}{remark}"


def _where(experiments: str) -> str:
    """For people: the experiments that a regular expression of the table means."""
    if experiments == ".*":
        return "everywhere"
    return f"`{experiments}`".replace("|", "\\|").replace("\\.", ".")


if __name__ == "__main__":
    PAGE.write_text(page())
