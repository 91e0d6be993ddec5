"""Answers as the files that the challenges of thesis Ch. 3 take (`--mode=predict`); splits need no labels.

egoschema   NAME.json: {q_uid: option, 0 to 4}, for validate.py of github.com/egoschema/EgoSchema; NAME.csv: the same
            as q_uid,answer, for Kaggle's egoschema-public
lta         NAME.json: {"CLIP_ACTION": {"verb": k lists of numbers, "noun": likewise}}; ACTION is the last one observed,
            labels count from 0 in fho_lta_taxonomy.json (github.com/EGO4D/forecasting)
mq          NAME.json: {"version", "challenge", "detect_results": {clip: [{"label", "score", "segment"}]},
            "retrieve_results": the same} (github.com/EGO4D/episodic-memory, MQ)
nlq         NAME.json: {"version", "challenge", "results": [{"clip_uid", "annotation_uid", "query_idx",
            "predicted_times"}]} (the same, NLQ)

Of moments every label is looked for in every clip, as the challenge does. The test set of LTA has no labels of the
observed actions, which the thesis's prompt lists (§3.3.4): there the model sees the video and their times alone.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from storyjax.metrics.anticipation import complete
from storyjax.metrics.grounding import Detection
from storyjax.tcr.decoding import parse_actions, spell
from storyjax.tcr.evaluators import ActionDecoder, Data, Timestamps, detections, first_numbers
from storyjax.tcr.loader import FRAME_ARRAYS
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.tasks import window
from storyjax.train.experiment import Batch, BatchPrediction, Params, Rows

# (index of an item) -> (its video's name and columns, numbers of its examples).
Asked = Callable[[int], tuple[str, Mapping[str, Any], Sequence[int]]]
_READ = ("index", "record_valid", "valid", "duration")
_ANSWERS = 5  # of a language query: the challenge measures recall at 1 and at 5


@dataclass(frozen=True)
class MomentRecords:
    """Records of moments that ask every clip for every label.

    Attributes:
        records: a prepared split.
        labels: as prompts write them.
    """

    records: Any
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.records[index], **self.columns}

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The columns of every clip: when a label happens is what is asked, so all are said to be at the start."""
        nothing = [0.0] * len(self.labels)
        return {"label": list(self.labels), "start": nothing, "end": nothing}

    @property
    def annotations(self) -> list[dict[str, list[Any]]]:
        """The columns of each record."""
        return [self.columns] * len(self.records)

    @property
    def video_ids(self) -> Sequence[str]:
        """The name of each record's video."""
        return self.records.video_ids


def _examples(batch: Batch, asked: Asked) -> Iterable[tuple[int, int, str, Mapping[str, Any], int]]:
    """(place in the batch, place among its examples, video, its columns, number of the example) of what is real."""
    for place, (index, real) in enumerate(zip(batch["index"], batch["record_valid"], strict=True)):
        if real:
            video, columns, numbers = asked(int(index))
            for column, number in enumerate(numbers):
                if batch["valid"][place, column]:
                    yield place, column, video, columns, number


def choices(name: str, data: Data, qa: QuestionAnswering, asked: Asked) -> BatchPrediction:
    """Returns the files of EgoSchema: the likeliest option of every question."""

    def step(params: Params, batch: Batch) -> Any:
        return jnp.argmax(qa.scores(params, batch, attention=False)[0], axis=-1)

    def rows(chosen: np.ndarray, batch: Batch) -> Rows:
        return [[video, int(chosen[place, column])] for place, column, video, _, _ in _examples(batch, asked)]

    def files(rows: Rows) -> dict[str, str]:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("q_uid", "answer"), *rows])
        return {f"{name}.json": json.dumps(dict(rows), indent=0) + "\n", f"{name}.csv": table.getvalue()}

    return BatchPrediction(name, data, step, rows, files, _READ[:3], FRAME_ARRAYS)


def actions(name: str, data: Data, decoder: ActionDecoder, asked: Asked) -> BatchPrediction:
    """Returns the file of long-term anticipation: candidates for the actions to come, by their numbers."""

    def rows(ids: np.ndarray, batch: Batch) -> Rows:
        space, found = decoder.space(), []
        verbs, nouns = ({label: i for i, label in enumerate(names)} for names in (space.verbs, space.nouns))
        for place, column, video, columns, number in _examples(batch, asked):
            last = window(columns, number, decoder.options)[0][-1]
            # Where nothing that was said is an action the last observed one goes on, if it is known.
            known = columns["verb"][last] in verbs and columns["noun"][last] in nouns
            again = (columns["verb"][last], columns["noun"][last]) if known else (space.verbs[0], space.nouns[0])
            drawn = [
                parse_actions(spell(decoder.tokenizer(), row), space.verbs, space.nouns) for row in ids[place, column]
            ]
            said: list[Any] = [complete(one, decoder.options.future, again) for one in drawn]
            key = f"{video}_{int(columns['action_idx'][last])}"
            found.append(
                [key, [[verbs[v] for v, _ in one] for one in said], [[nouns[n] for _, n in one] for one in said]]
            )
        return found

    def files(rows: Rows) -> dict[str, str]:
        return {f"{name}.json": json.dumps({key: {"verb": verb, "noun": noun} for key, verb, noun in rows})}

    return BatchPrediction(name, data, decoder.eval_step, rows, files, _READ[:3], FRAME_ARRAYS)


def times(
    name: str,
    data: Data,
    qa: QuestionAnswering,
    stamps: Callable[[], Timestamps],
    asked: Asked,
    labels: Callable[[], Mapping[str, str]] | None = None,
) -> BatchPrediction:
    """Returns the file of language queries or, with `labels`, of moments.

    Args:
        labels: from each label as prompts write it to the challenge's.
    """

    def step(params: Params, batch: Batch) -> Any:
        return first_numbers(qa, stamps(), params, batch, attention=False)[0]

    def rows(likely: np.ndarray, batch: Batch) -> Rows:
        found: list[Any] = []
        for place, column, video, columns, number in _examples(batch, asked):
            segments = detections(likely[place, column], float(batch["duration"][place]))
            if labels is None:
                found.append(_query(video, columns, number, segments))
            else:
                label = labels()[columns["label"][number]]
                found.append([video, [_moment(label, one) for one in segments]])
        return found

    files = _moment_files if labels is not None else _query_files
    return BatchPrediction(name, data, step, rows, lambda rows: {f"{name}.json": files(rows)}, _READ, FRAME_ARRAYS)


def _query(video: str, columns: Mapping[str, Any], number: int, found: Sequence[Detection]) -> dict[str, Any]:
    return {
        "clip_uid": video,
        "annotation_uid": columns["annotation_uid"][number],
        "query_idx": int(columns["query_idx"][number]),
        "predicted_times": [[round(one.start, 3), round(one.end, 3)] for one in found[:_ANSWERS]],
    }


def _query_files(rows: Rows) -> str:
    return json.dumps({"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": rows})


def _moment(label: str, found: Detection) -> dict[str, Any]:
    return {"label": label, "score": round(found.score, 6), "segment": [round(found.start, 2), round(found.end, 2)]}


def _moment_files(rows: Rows) -> str:
    by_clip: dict[str, list[dict[str, Any]]] = {}
    for video, found in rows:
        by_clip.setdefault(video, []).extend(found)
    ranked = {video: sorted(found, key=lambda one: -one["score"]) for video, found in by_clip.items()}
    head = {"version": "1.0", "challenge": "ego4d_moment_queries"}
    return json.dumps({**head, "detect_results": ranked, "retrieve_results": ranked})
