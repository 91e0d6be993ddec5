"""The readers of thesis Ch. 3's data sets on annotations that are not what they should be. No video is decoded."""

import json
from pathlib import Path
from typing import Any

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.deepfashion2 import read_box
from storyjax.data.builders.ego4d import Ego4dLta, Ego4dMq, Ego4dNlq, taxonomy
from storyjax.data.builders.ego4d_narrations import Ego4dNarrations
from storyjax.data.builders.egoschema import EgoSchema
from storyjax.data.builders.kinetics import Countix, Kinetics400
from storyjax.data.builders.media import MediaListing
from storyjax.data.builders.mot import read_seqinfo
from storyjax.data.builders.msrvtt import MsrVtt
from storyjax.data.builders.nextqa import COLUMNS, NextQA
from storyjax.data.builders.season import read_season
from storyjax.data.builders.segments import SegmentListing
from storyjax.data.builders.times import segment
from storyjax.data.builders.vggface import read_vggface, read_vggface2
from storyjax.data.builders.yttemporal import YtTemporal

NAN, HALF, NUL = float("nan"), "\ud800", "a\0b"  # HALF: of a surrogate pair
FILM = b"film"


def put(root: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
    return root


def read(builder: type, root: Path, files: dict[str, Any], split: str = "train") -> SegmentListing:
    found = builder.read(put(root, files), split)
    assert all(line.isprintable() for line in found.broken)
    assert found.lost <= found.rows
    return found


def check(found: SegmentListing, *messages: str, lost: int = 1) -> None:
    assert found.lost == lost
    assert len(found.broken) == len(messages)
    for message, line in zip(messages, found.broken, strict=True):
        assert message in line


@pytest.mark.parametrize("time", ["nan", "inf", "1e999"])
def test_a_clip_of_kinetics_without_a_time(time: str, tmp_path: Path) -> None:
    table = (
        f"label,youtube_id,time_start,time_end,split\nrun,a,0,10,train\nrun,b,{time},10,train\nrun,c,0,{time},train\n"
    )
    files = {"annotations/train.csv": table, "train/a_000000_000010.mp4": FILM}
    check(read(Kinetics400, tmp_path, files), "line 3: its label", "line 4: its label", lost=2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("0,nan,1,5,4", "no finite number"),
        ("0,10,1,5,nan", "no finite number"),
        ("0,10,1,5,inf", "no finite number"),
        ("inf,10,1,5,4", "no finite number"),
        ("0,10,1,5,1e300", "1e300 repetitions"),
    ],
)
def test_a_count_that_is_none(numbers: str, message: str, tmp_path: Path) -> None:
    table = f"video_id,kinetics_start,kinetics_end,repetition_start,repetition_end,count\na,0,10,1,5,4\na,{numbers}\n"
    found = read(Countix, tmp_path, {"countix_train.csv": table, "train/a_000000_000010.mp4": FILM})
    check(found, message)
    assert found.videos["a_000000_000010@1-5x4"].columns["count"] == [4]


def test_rows_of_countix_are_keyed_by_all_of_them_and_clips_lie_in_folders_of_classes(tmp_path: Path) -> None:
    head = "video_id,class,kinetics_start,kinetics_end,repetition_start,repetition_end,count\n"
    rows = ["a,push up,0,10,1,5,4", "a,push up,0,10,1,9,8", "a,push up,0,10,1,5,4", "b,jumping jacks,0,10,2,6,3"]
    files = {"countix_train.csv": head + "\n".join(rows) + "\n"}
    files |= {"train/push_up/a_000000_000010.mp4": FILM, "train/jumping jacks/b_000000_000010.mp4": FILM}
    found = read(Countix, tmp_path, files)
    check(found, "line 4 (video a): the same row is there twice")
    assert [(f.end, f.columns["count"]) for f in found.videos.values()] == [(5.0, [4]), (9.0, [8]), (6.0, [3])]
    # The test's table has no classes.
    rows = [",".join(part for i, part in enumerate(row.split(",")) if i != 1) for row in rows[:2]]
    files = {
        "countix_test.csv": head.replace("class,", "") + "\n".join(rows) + "\n",
        "test/x/a_000000_000010.mp4": FILM,
    }
    assert len(read(Countix, tmp_path, files, "test").videos) == 2
    with pytest.raises(StoryjaxError, match="Kinetics-700"):
        Countix.read(tmp_path / "nowhere", "train")


def test_kinetics_test_list_has_no_labels(tmp_path: Path) -> None:
    files = {"annotations/test.csv": "youtube_id,time_start,time_end,split\na,0,10,test\n"}
    found = read(Kinetics400, tmp_path, files | {"test/a_000000_000010.mp4": FILM}, "test")
    assert [each.columns["label"] for each in found.videos.values()] == [[""]]
    with pytest.raises(StoryjaxError, match=r"lacks the column\(s\) label"):
        read(Kinetics400, tmp_path, {"annotations/train.csv": files["annotations/test.csv"]})


def lta(*rows: Any, **labels: list[str]) -> dict[str, Any]:
    return {
        "annotations/fho_lta_train.json": {"version": "2.0", "clips": rows},
        "annotations/fho_lta_taxonomy.json": {"verbs": ["take"], "nouns": ["cup"], **labels},
        "clips/c.mp4": FILM,
    }


def action(index: int, **changes: Any) -> dict[str, Any]:
    times = {"clip_parent_start_sec": 0, "clip_parent_end_sec": 9}
    inside = {"action_clip_start_sec": index, "action_clip_end_sec": index + 1}
    return {"clip_uid": "c", "verb": "take", "noun": "cup", "action_idx": index, **times, **inside, **changes}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (action(1, action_idx=None), "action 1 (clip c): its action_idx None is no finite number"),
        (action(1, action_idx=0), "action 1 (clip c): its action_idx 0 is there twice"),
        (action(1, clip_parent_end_sec="ten"), "to clip_parent_end_sec 'ten' is not a time span"),
        (action(1, clip_parent_start_sec=[]) | {"clip_parent_end_sec": -3}, "is not a time span"),
        (action(1, action_clip_end_sec=10**400), "is no number"),
        (None, "entry 1 of 'clips' is None, not an object"),
    ],
)
def test_a_broken_action_is_left_out_alone(row: Any, message: str, tmp_path: Path) -> None:
    found = read(Ego4dLta, tmp_path, lta(action(0), row, action(2)))
    check(found, message)
    assert found.rows == 3
    assert found.videos["c"].columns["start"] == [0.0, 2.0]


def test_a_list_of_actions_that_is_none(tmp_path: Path) -> None:
    put(tmp_path, lta() | {"annotations/fho_lta_train.json": {"version": "2", "clips": None}})
    with pytest.raises(StoryjaxError, match=r"100\.0%.*'clips' is None, not a list$"):
        Ego4dLta.prepare(tmp_path, tmp_path / "out", "train")


def test_classes_that_differ_only_in_brackets(tmp_path: Path) -> None:
    nouns = ["cup_(cup,_mug)", "nut_(food)", "nut_(tool)", "pot", "pot_(planter)", "chip_(wood,_metal)", "chip_(food)"]
    verbs = ["put_(place,_drop)", "put_(place,_drop)"]
    rows = [action(i, verb=verbs[0], noun=noun) for i, noun in enumerate([*nouns, "chip_(wood'_metal),"])]
    found = read(Ego4dLta, tmp_path, lta(*rows, verbs=verbs, nouns=nouns))
    said = ["cup", "nut food", "nut tool", "pot", "pot planter", "chip wood", "chip food"]
    assert taxonomy(tmp_path) == (["put", "put"], said)
    assert found.videos["c"].columns["noun"] == [*said, "chip wood"]
    assert set(found.videos["c"].columns["verb"]) == {"put"}


def test_two_classes_of_version_2_that_are_alike_up_to_punctuation_stay_apart(tmp_path: Path) -> None:
    # As the taxonomy of version 2 has them, the second with its comma.
    nouns = [
        "chip_(food)",
        "chip_(wood'_metal)",
        "chip_(wood,_metal)",
        "chip_(metal)",
        "cup_(a)",
        "cup_(a,_b)",
        "cup_(b_a)",
    ]
    nouns += ["nut_(x)", "nut_(x')"]
    found = read(Ego4dLta, tmp_path, lta(*[action(i, noun=noun) for i, noun in enumerate(nouns)], nouns=nouns))
    said = ["chip food", "chip wood", "chip wood metal", "chip metal", "cup a", "cup a b", "cup b", "nut x", "nut x 2"]
    assert found.videos["c"].columns["noun"] == taxonomy(tmp_path)[1] == said


@pytest.mark.parametrize("labels", [{"verbs": [1]}, {"verbs": []}, {"nouns": "cup"}])
def test_a_taxonomy_without_labels(labels: dict[str, Any], tmp_path: Path) -> None:
    put(tmp_path, lta(action(0), **labels))
    with pytest.raises(StoryjaxError, match="lists no verbs and nouns"):
        taxonomy(tmp_path)


ASKED = {"clip_start_sec": 1, "clip_end_sec": 2, "start_time": 1, "end_time": 2, "query": "where ?", "label": "walk"}


@pytest.mark.parametrize(
    ("builder", "name", "key"), [(Ego4dMq, "moments", "labels"), (Ego4dNlq, "nlq", "language_queries")]
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clip, key: clip.update(clip_end_sec="x"), "clip_end_sec 'x' is not a time span"),
        (lambda clip, key: clip.update(video_start_sec="x"), "video_start_sec 'x' to video_end_sec"),
        (lambda clip, key: clip.update(annotations=None), "'annotations' is None, not a list"),
        (lambda clip, key: clip.update(annotations=[3]), "entry 0 of 'annotations' is 3, not an object"),
        (lambda clip, key: clip["annotations"][0].update({key: None}), " is None, not a list"),
        (lambda clip, key: clip["annotations"][0].update({key: [None]}), " is None, not an object"),
    ],
)
def test_a_broken_clip_is_left_out_alone(
    builder: type, name: str, key: str, change: Any, message: str, tmp_path: Path
) -> None:
    clips = [{"clip_uid": uid, "clip_end_sec": 9, "annotations": [{key: [ASKED]}]} for uid in "ab"]
    change(clips[0], key)
    table = {"version": "1", "videos": [{"video_uid": "v", "clips": clips}]}
    files = {f"annotations/{name}_train.json": table, "clips/a.mp4": FILM, "clips/b.mp4": FILM}
    found = read(builder, tmp_path, files)
    check(found, message)
    assert found.videos["b"].columns["start"] == [1.0]
    for broken, where in (
        (None, "'videos' is None"),
        ([None], "not an object"),
        ([{"clips": None}], "'clips' is None"),
    ):
        check(read(builder, tmp_path, files | {f"annotations/{name}_train.json": {**table, "videos": broken}}), where)


def told(at: Any, text: str = "#C C walks") -> dict[str, Any]:
    return {"timestamp_sec": at, "narration_text": text}


# EgoSchema's own table of its clips.
CLIPS = {"q1": {"video_uid": "tested", "starting_sec": 240, "ending_sec": 420}}


def summed(start: Any, end: Any) -> dict[str, Any]:
    return {"start_sec": start, "end_sec": end, "summary_text": "#summary C walks"}


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(
    ("film", "message"),
    [
        (None, "video w: its narrations are None, not an object"),
        ({"narration_pass_1": [1]}, "video w narration_pass_1 is [1], not an object"),
        ({"narration_pass_2": {"narrations": None}}, "video w narration_pass_2: 'narrations' is None"),
        (
            {"narration_pass_3": {"narrations": [told(1.0)]}},
            "video w: 'narration_pass_3' is none of narration_pass_1, ",
        ),
        ({"narration_pass_1": {"narrations": ["x"]}}, "entry 0 of 'narrations' is 'x'"),
        ({"narration_pass_1": {"narrations": [told("soon")]}}, "its time is no finite number"),
        ({"narration_pass_1": {"narrations": [told(NAN)]}}, "its time is no finite number"),
        ({"narration_pass_1": {"narrations": [told(1e300)]}}, "its time is beyond the end of any video"),
        ({"narration_pass_1": {"narrations": [told(-3.0)]}}, "-3.00 to 1.00 s is not a time span"),
        ({"narration_pass_1": {"summaries": [summed(300, 10)]}}, "from 180 s, narration 0: its time 120.00 to -170.00"),
        ({"narration_pass_1": {"summaries": [summed(0, NAN)]}}, "its time is no finite number"),
        ({"narration_pass_1": {"summaries": [summed(None, 3)]}}, "its time is no finite number"),
    ],
)
def test_a_broken_narration(film: Any, message: str, versioned: bool, tmp_path: Path) -> None:
    films = {"v": {"narration_pass_1": {"narrations": [told(200.0), told(190.0)]}}, "w": film}
    table = {"version": "2", "videos": films} if versioned else {"version": "1", "date": "220216", **films}
    files = {"annotations/narration.json": table, "uid_to_ego4d.json": CLIPS}
    found = read(Ego4dNarrations, tmp_path, files | {f"full_scale/{uid}.mp4": FILM for uid in "vw"})
    check(found, message)
    assert found.rows == 3
    assert [(f.columns["start"], f.columns["end"]) for f in found.videos.values()] == [([10.0, 20.0], [20.0, 24.0])]


def test_an_unsure_narration_is_set_aside_and_counted_and_its_video_stays(tmp_path: Path) -> None:
    rows = [told(0.0), told(4.0, "#C C picks #unsure"), told(7.0), told(9.0, "#unsure")]
    films = {"v": {"narration_pass_1": {"narrations": rows}}, "tested": {"narration_pass_1": {"narrations": rows}}}
    files = {"annotations/narration.json": {"version": "2", "videos": films}, "full_scale/v.mp4": FILM}
    found = read(Ego4dNarrations, tmp_path, files | {"uid_to_ego4d.json": CLIPS})
    check(found, lost=0)
    # The first lasts to the unsure one, which is when something else happened.
    assert found.rows == 2
    assert [(f.columns["start"], f.columns["end"]) for f in found.videos.values()] == [([0.0, 7.0], [4.0, 9.0])]
    assert found.aside == {"narrations that are tagged #unsure": 2, "videos of EgoSchema": 1}
    source = Ego4dNarrations.prepare(tmp_path, tmp_path / "out", "train")
    assert source.summary["set_aside"] == dict(found.aside)
    with pytest.raises(StoryjaxError, match=r"uid_to_ego4d\.json names no video_uid"):
        read(Ego4dNarrations, tmp_path, files | {"uid_to_ego4d.json": {"q1": {"url": "x"}}})


def test_queries_without_length_are_kept_and_null_ones_are_not_broken(tmp_path: Path) -> None:
    still = {**ASKED, "clip_end_sec": 1, "query": "who came in ?"}  # the challenge counts it: no answer overlaps it
    asked = [ASKED, still, {**ASKED, "query": None}, {"clip_start_sec": 0.0, "clip_end_sec": 0.0}]
    clips = [{"clip_uid": "a", "clip_end_sec": 9, "annotations": [{"language_queries": asked}]}]
    table = {"version": "1", "videos": [{"video_uid": "v", "clips": clips}]}
    found = read(Ego4dNlq, tmp_path, {"annotations/nlq_train.json": table, "clips/a.mp4": FILM})
    check(found, lost=0)
    assert found.videos["a"].columns["query"] == ["where ?", "who came in ?"]
    assert found.videos["a"].columns["end"] == [2.0, 1.0]
    assert (found.rows, found.aside) == (2, {"queries without a text": 2})


def test_moments_that_are_not_primary_are_counted(tmp_path: Path) -> None:
    labels = [ASKED, {**ASKED, "primary": False}, {**ASKED, "primary": True}]
    clips = [{"clip_uid": "a", "clip_end_sec": 9, "annotations": [{"labels": labels}]}]
    table = {"version": "1", "videos": [{"video_uid": "v", "clips": clips}]}
    found = read(Ego4dMq, tmp_path, {"annotations/moments_train.json": table, "clips/a.mp4": FILM})
    check(found, lost=0)
    assert (found.rows, found.aside) == (2, {"moments that are not primary": 1})


def spoken(video: str = "a", **changes: Any) -> str:
    return json.dumps({"video_id": video, "start": [1, 2], "end": [2, 3], "text": ["hello", "there"], **changes})


def temporal(*lines: str, ids: str | bytes = "a\nb\n") -> dict[str, Any]:
    films = {f"videos/{uid}.mp4": FILM for uid in "ab"}
    return {"yttemporal1b_ids_train.csv": ids, "asr/0.jsonl": "\n".join(lines), **films}


def test_ids_in_another_encoding(tmp_path: Path) -> None:
    found = read(YtTemporal, tmp_path, temporal(spoken("a"), spoken("b"), ids=b"\xef\xbb\xbfa\r\nb\r\n"))
    assert list(found.videos) == ["a", "b"]
    with pytest.raises(StoryjaxError, match=r"ids_train\.csv cannot be read as text"):
        read(YtTemporal, tmp_path, temporal(ids=b"a\n\xe9\n"))


@pytest.mark.parametrize(
    ("changes", "message", "lost"),
    [
        ({"start": 3}, "are not lists of one length", 2),
        ({"start": None, "text": []}, "are not lists of one length", 1),
        ({"duration": "ten"}, "the video's length 'ten' is no finite number", 2),
        ({"duration": NAN}, "the video's length nan is no finite number", 2),
        ({"duration": [9]}, "the video's length [9] is no finite number", 2),
        ({"duration": "2"}, "past the end of the video at 2.00 s", 1),
    ],
)
def test_a_broken_line_of_sentences(changes: dict[str, Any], message: str, lost: int, tmp_path: Path) -> None:
    found = read(YtTemporal, tmp_path, temporal(spoken("a", **changes), spoken("b")))
    assert found.lost == lost
    assert message in found.broken[0]
    assert found.videos["b"].columns["sentence"] == ["hello", "there"]


def test_lines_end_at_line_feeds_only_and_a_broken_one_is_named(tmp_path: Path) -> None:
    whole = spoken("b", text=["one\u2028two", "\u0085"]).encode().decode("unicode_escape").encode()
    files = temporal() | {"asr/0.jsonl": b'{"video_id": "a", \n\n[1]\n\xff\n' + b"[" * 9000 + b"\r\n" + whole + b"\r\n"}
    found = read(YtTemporal, tmp_path, files)
    names = [f"0.jsonl line {number}" for number in (1, 3, 4, 5, 6)]
    check(found, *names, "video a: no line", lost=6)
    assert found.videos["b"].columns["sentence"] == ["one two"]
    with pytest.raises(StoryjaxError, match=r"cannot be used \(85\.7%\).*0\.jsonl line 1 cannot be read as JSON"):
        YtTemporal.prepare(tmp_path, tmp_path / "out", "train")


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    put(tmp_path, temporal(spoken("a", text=[f"so {HALF} it", "goes"]), ids="a\n"))
    source = YtTemporal.prepare(tmp_path, tmp_path / "out", "train")
    assert source[0]["sentence"] == source.annotations[0]["sentence"] == ["so ? it", "goes"]


@pytest.mark.parametrize("name", [NUL, HALF])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    row = {"q_uid": name, "question": "why ?", **{f"option {i}": "so" for i in range(5)}}
    found = read(EgoSchema, tmp_path, {"questions.json": [row], "subset_answers.json": {}}, "full")
    check(found, "video ")
    if name == NUL:
        check(read(YtTemporal, tmp_path, temporal(spoken(name), ids=name)), "video a?b: there is no", lost=2)
        (reading := MediaListing(root=tmp_path)).add(tmp_path / name, "a line")
        assert "embedded null byte" in reading.broken[0]
        line = ",".join([name, "9", "9", "9", "why", "0", "1", "CW", *"abcde"])
        files = {"train.csv": f"{','.join(COLUMNS)}\n{line}\n", "map_vid_vidorID.json": {}, "NExTVideo/a.mp4": FILM}
        assert "embedded null byte" in NextQA.read(put(tmp_path, files), "train").broken[0]


def test_times_just_before_the_video() -> None:
    assert segment(-0.4, -0.2, None) == (0.0, 0.0, "")


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"sentences": None}, ["'sentences' is None"]),
        # Sentences of videos that no list has are counted too, and those of a split that there is not.
        ({"videos": [None]}, ["entry 0 of 'videos' is None", "its video a is not listed", "sentence 1: its video a"]),
        ({"videos": [{"video_id": "a", "split": 1}]}, ["its video a is of the split 1", "sentence 1: its video a"]),
    ],
)
def test_lists_of_captions_that_are_none(change: dict[str, Any], messages: list[str], tmp_path: Path) -> None:
    found = read(MsrVtt, tmp_path, {"train_val_videodatainfo.json": captions("a") | change})
    check(found, *messages, lost=len(messages))


def captions(*videos: str, split: str = "train") -> dict[str, Any]:
    said = [{"video_id": video, "caption": caption} for video in videos for caption in ("a man runs", "a man runs")]
    return {"videos": [{"video_id": video, "split": split} for video in videos], "sentences": said}


def test_captions_in_both_layouts_are_read_once(tmp_path: Path) -> None:
    files = {"MSRVTT_data.json": captions("a"), "train_val_videodatainfo.json": captions("a", "b")}
    found = read(MsrVtt, tmp_path, {**files, "videos/a.mp4": FILM, "videos/b.mp4": FILM})
    assert {name: len(film.columns["caption"]) for name, film in found.videos.items()} == {"a": 2, "b": 2}
    check(found, lost=0)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_endless_numbers_of_other_tables(number: str, tmp_path: Path) -> None:
    season = {"occurrences.csv": f"episode,start,end,actor,action\na,1,{number},x,run\n", "episodes/a.mp4": FILM}
    assert "is not a time span" in read_season(put(tmp_path, season), "episodes").broken[0]
    faces = {"files/A_B.txt": f"1 url 1 2 {number} 4 5 6 7\n", "images/A_B/1.jpg": FILM}
    assert "its box is not four numbers" in read_vggface(put(tmp_path, faces), "train").broken[0]
    crops = {
        "meta/identity_meta.csv": "Class_ID,Name,Sample_Num,Flag,Gender\nn1,A,1,1,f\n",
        "bb_landmark/loose_bb_train.csv": f"NAME_ID,X,Y,W,H\nn1/1,1,2,{number},4\n",
        "train/n1/1.jpg": FILM,
    }
    assert read_vggface2(put(tmp_path, crops), "train").items[0].labels["box"] == ""
    info = "[Sequence]\nframeRate={}\nimWidth=9\nimHeight=9\nseqLength=9\n"
    put(tmp_path, {"seqinfo.ini": info.format(number), "annos/1.json": {"item1": {"bounding_box": [1, 2, number, 4]}}})
    with pytest.raises(StoryjaxError, match="not above zero"):
        read_seqinfo(tmp_path)
    with pytest.raises(StoryjaxError, match="is not four numbers"):
        read_box(tmp_path / "image" / "1.jpg", "trousers")
