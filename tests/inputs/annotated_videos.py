"""Small data sets of annotated videos in their official layouts, one for each kind of annotation file."""

import json
from collections.abc import Callable
from typing import Any

from annotation_kind import Kind, annotations, in_json, items, lines, listed, questions, table

from storyjax.data.builders.celebrities import CelebritiesInAction
from storyjax.data.builders.ego4d import Ego4dLta, Ego4dMq, Ego4dNlq
from storyjax.data.builders.ego4d_narrations import Ego4dNarrations
from storyjax.data.builders.egoschema import EgoSchema
from storyjax.data.builders.kinetics import Countix, Kinetics400
from storyjax.data.builders.msrvtt import MsrVtt
from storyjax.data.builders.nextqa import COLUMNS, NextQA
from storyjax.data.builders.season import Season
from storyjax.data.builders.thisismy import ThisIsMy
from storyjax.data.builders.yttemporal import YtTemporal

VIDEO = b"a video"


def _nextqa() -> Kind:
    rows = [f'v{n % 3},100,320,240,"why did, then, {n} ?",{n % 5},{n},CW,a,b,c,d,"e, f"' for n in range(9)]
    files = {
        "train.csv": table(",".join(COLUMNS), rows),
        "map_vid_vidorID.json": {f"v{n}": f"0/v{n}" for n in range(3)},
    }
    files |= {f"NExTVideo/0/v{n}.mp4": VIDEO for n in range(3)}
    return Kind(NextQA, "train.csv", files, "train", lines(), questions)


def _nextqa_map() -> Kind:
    kind = _nextqa()
    return Kind(NextQA, "map_vid_vidorID.json", kind.files, "train", lambda data: 9, questions)


def _egoschema(path: str, split: str, count: Callable[[Any], int]) -> Kind:
    rows = [{"q_uid": f"q{n}", "question": "what ?", **{f"option {i}": f"so {i}" for i in range(5)}} for n in range(5)]
    files = {"questions.json": rows, "subset_answers.json": {f"q{n}": n for n in range(5)}}
    files |= {f"videos/q{n}.mp4": VIDEO for n in range(5)}
    return Kind(EgoSchema, path, files, split, in_json(count), questions)


def _narrations() -> Kind:
    rows = [{"timestamp_sec": 100.0 * n, "narration_text": f"#C C does {n}"} for n in range(4)]
    sums = [{"start_sec": 0.0, "end_sec": 90.0, "summary_text": "#summary C works"}]
    passes = {"narration_pass_1": {"narrations": rows, "summaries": sums}, "narration_pass_2": {"narrations": rows}}
    files = {"annotations/narration.json": {"version": "2", "videos": {"v": passes, "w": passes}}}
    files |= {"full_scale/v.mp4": VIDEO, "full_scale/w.mp4": VIDEO, "uid_to_ego4d.json": {"q": {"video_uid": "x"}}}

    def count(found: Any) -> int:
        parts = [part for video in found["videos"].values() for part in video.values() if part]
        return sum(listed(part.get(key, [])) for part in parts for key in ("narrations", "summaries"))

    return Kind(Ego4dNarrations, "annotations/narration.json", files, "train", in_json(count), annotations)


def _lta(path: str) -> Kind:
    rows = [
        {"clip_uid": f"c{n % 2}", "verb": "take", "noun": "cup", "action_idx": n, "clip_parent_start_sec": 0}
        | {"clip_parent_end_sec": 60, "action_clip_start_sec": n, "action_clip_end_sec": n + 1}
        for n in range(6)
    ]
    files = {"annotations/fho_lta_train.json": {"version": "2", "clips": rows}}
    files |= {"annotations/fho_lta_taxonomy.json": {"verbs": ["take", "put_(place)"], "nouns": ["cup", "nut_(food)"]}}
    files |= {f"clips/c{n}.mp4": VIDEO for n in range(2)}
    clips = in_json(lambda found: listed(found["clips"]))
    return Kind(Ego4dLta, path, files, "train", clips if "train" in path else lambda data: 6, annotations)


def _clips(builder: Any, name: str, key: str) -> Kind:
    asked = {
        "clip_start_sec": 1,
        "clip_end_sec": 2,
        "start_time": 1,
        "end_time": 2,
        "query": "where ?",
        "label": "walk",
    }
    clips = [
        {
            "clip_uid": uid,
            "clip_start_sec": 0,
            "clip_end_sec": 9,
            "annotations": [{key: [asked, asked]}, {key: [asked]}],
        }
        for uid in "ab"
    ]
    path = f"annotations/{name}_train.json"
    files = {path: {"version": "1", "videos": [{"video_uid": "v", "clips": clips[:1]}, {"clips": clips[1:]}]}}
    files |= {"clips/a.mp4": VIDEO, "clips/b.mp4": VIDEO}

    def count(found: Any) -> int:
        return sum(
            listed(part.get(key, []))
            for video in found["videos"]
            for clip in video.get("clips", [])
            for part in clip.get("annotations", [])
        )

    return Kind(builder, path, files, "train", in_json(count), annotations)


def _msrvtt() -> Kind:
    videos = [{"video_id": f"video{n}", "split": "train"} for n in range(3)]
    said = [{"video_id": f"video{n % 3}", "caption": f"caption {n}"} for n in range(9)]
    files = {"train_val_videodatainfo.json": {"videos": videos, "sentences": said}}
    files |= {f"TrainValVideo/video{n}.mp4": VIDEO for n in range(3)}
    count = in_json(lambda found: listed(found["sentences"]))
    return Kind(MsrVtt, "train_val_videodatainfo.json", files, "train", count, annotations)


def _kinetics() -> Kind:
    rows = [f'"run, or walk",id{n},{n},{n + 10},train' for n in range(6)]
    files = {"annotations/train.csv": table("label,youtube_id,time_start,time_end,split", rows)}
    files |= {f"train/run, or walk/id{n}_{n:06d}_{n + 10:06d}.mp4": VIDEO for n in range(6)}
    return Kind(Kinetics400, "annotations/train.csv", files, "train", lines(), annotations)


def _countix() -> Kind:
    head = "video_id,class,kinetics_start,kinetics_end,repetition_start,repetition_end,count"
    files = {"countix_train.csv": table(head, [f"id{n},push up,{n},{n + 10},{n + 1},{n + 5},4" for n in range(6)])}
    files |= {f"train/id{n}_{n:06d}_{n + 10:06d}.mp4": VIDEO for n in range(6)}
    return Kind(Countix, "countix_train.csv", files, "train", lines(), annotations)


def _yttemporal(name: str) -> Kind:
    rows = [{"video_id": uid, "start": [1, 2, 3], "end": [2, 3, 4], "text": ["so", "it", "goes"]} for uid in "abc"]
    files = {"yttemporal1b_ids_train.csv": "video_id\na\nb\nc\n", "asr/0.jsonl": "\n".join(map(json.dumps, rows))}
    files |= {f"videos/{uid}.mp4": VIDEO for uid in "abc"}

    def distinct(data: bytes) -> int | None:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        return len({line.strip().split(",")[0].strip('"') for line in text.splitlines() if line.strip()} - {"video_id"})

    def videos(listing: Any) -> int:
        return len(listing.videos)

    return Kind(YtTemporal, name, files, "train", distinct if name.endswith("csv") else lambda data: 3, videos)


def _season() -> Kind:
    rows = [f"e{n % 2},{n},{n + 2},Ana_Bo,Run" for n in range(6)]
    files = {"occurrences.csv": table("episode,start,end,actor,action", rows)}
    files |= {"episodes/e0.mp4": VIDEO, "episodes/e1.mkv": VIDEO}
    return Kind(
        Season,
        "occurrences.csv",
        files,
        "episodes",
        lines(),
        lambda found: sum(len(i.labels["actors"]) for i in found.items),
    )


def _actions(name: str) -> Kind:
    rows = [f"clip{n % 3},train,Actor_{n},Run,INT-Car" for n in range(6)]
    files = {"annotations.csv": table("clip,split,actor,action,scene", rows)}
    files |= {"Hollywood2/ClipSets/Run_train.txt": "clip0  1\nclip1 -1\nclip2  1\n"}
    files |= {f"Hollywood2/AVIClips/clip{n}.avi": VIDEO for n in range(3)}
    count = lines() if name == "annotations.csv" else lambda data: 6
    return Kind(
        CelebritiesInAction,
        name,
        files,
        "train",
        count,
        lambda found: sum(len(i.labels["actors"]) for i in found.items),
    )


def _thisismy(name: str) -> Kind:
    folder = "this-is-my-dataset"
    head = "segment_id,is_anchor,instance_name,video_id,query"
    rows = ["a1,True,my dog Chia,va,dog", "a2,True,my cup Bo,vb,cup"]
    rows += [f"s{n},False,,v{n},dog" for n in range(4)] + ["t1,False,,va,dog", "t2,False,,vb,cup"]
    captions = ["s0,1,my dog Chia,dog,* in the park", 's2,2,my cup Bo,cup,"* on a table, at home"']
    files = {
        f"{folder}/segments.csv": table(head, rows),
        f"{folder}/this-is-my_test-set.json": {"a1": ["t1", "s0", "s1"], "a2": ["t2", "s2", "s3"]},
        f"{folder}/this-is-my_eval-captions.csv": table("segs,ids,item,class,caption", captions),
        "boxes.json": {f"s{n}": [[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]] for n in range(4)},
    }
    files |= {f"train_segment/{name}.mp4": VIDEO for name in ("a1", "a2", "t1", "t2")}
    files |= {f"eval_segment/s{n}.mp4": VIDEO for n in range(4)}
    if name == "this-is-my_test-set.json":
        count = in_json(lambda found: sum(1 + listed(shown) for shown in found.values()))
        return Kind(ThisIsMy, f"{folder}/{name}", files, None, count, items)
    if name == "this-is-my_eval-captions.csv":
        return Kind(ThisIsMy, f"{folder}/{name}", files, None, lines(), lambda listing: len(listing.items["test"]))
    return Kind(ThisIsMy, name if name == "boxes.json" else f"{folder}/{name}", files)


# By name. Each is made when it is needed.
VIDEO_KINDS: dict[str, Callable[[], Kind]] = {
    "nextqa": _nextqa,
    "nextqa_map": _nextqa_map,
    "egoschema_questions": lambda: _egoschema("questions.json", "full", listed),
    "egoschema_answers": lambda: _egoschema("subset_answers.json", "subset", len),
    "ego4d_narrations": _narrations,
    "ego4d_lta": lambda: _lta("annotations/fho_lta_train.json"),
    "ego4d_lta_taxonomy": lambda: _lta("annotations/fho_lta_taxonomy.json"),
    "ego4d_mq": lambda: _clips(Ego4dMq, "moments", "labels"),
    "ego4d_nlq": lambda: _clips(Ego4dNlq, "nlq", "language_queries"),
    "msrvtt": _msrvtt,
    "kinetics": _kinetics,
    "countix": _countix,
    "thisismy_segments": lambda: _thisismy("segments.csv"),
    "thisismy_test_set": lambda: _thisismy("this-is-my_test-set.json"),
    "thisismy_captions": lambda: _thisismy("this-is-my_eval-captions.csv"),
    "thisismy_boxes": lambda: _thisismy("boxes.json"),
    "yttemporal_ids": lambda: _yttemporal("yttemporal1b_ids_train.csv"),
    "yttemporal_sentences": lambda: _yttemporal("asr/0.jsonl"),
    "season": _season,
    "celebrities_in_action": lambda: _actions("annotations.csv"),
    "hollywood2_clips": lambda: _actions("Hollywood2/ClipSets/Run_train.txt"),
}
