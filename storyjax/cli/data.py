"""`storyjax data`: data sets to train and test on."""

import argparse
import sys
from typing import TYPE_CHECKING, cast

from storyjax.core.errors import StoryjaxError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DATA = """\
Writes synthetic data sets (StoryWorld) to train and test on, and derived data: prepared records, frozen features and
aligned transcripts.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
  storyjax data album --out runs/album
  storyjax data tracks --out runs/tracks
  storyjax data series --out runs/series
  storyjax data align script.txt --timed episode.srt --out episode.csv
  storyjax data prepare --config=tcr_nextqa
  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features

Each has its own --help, such as `storyjax data tracks --help`.
"""
ALBUM = """\
Writes photos of a few people and objects of StoryWorld, and videos in which they appear, as an example for `storyjax
find`; truth.json lists who does what, where and when in each video.

  storyjax data album --out runs/album
  storyjax find enrol ivy runs/album/photos/ivy
  storyjax find index runs/album/films --out runs/index
  storyjax find "An image of <ivy> dancing" --index runs/index
"""
TRACKS = """\
Writes sequences of StoryWorld for tracking, in MOTChallenge's layout: people, objects and vehicles that cross, hide
each other, leave and come back, with the ground truth and the boxes of three imitated detectors. The held-out sequences
are also written as videos.

  storyjax data tracks --out runs/tracks
  storyjax track runs/tracks/films/StoryWorld-8001.mp4 --render tracked.mp4
  storyjax track runs/tracks/train/StoryWorld-8001-SDP --detections runs/tracks/train/StoryWorld-8001-SDP/det/det.txt
"""
SERIES = """\
Writes episodes of a StoryWorld series with sound, as an example for `storyjax subtitle`: videos, cast lists with photos
and with voice samples, and who says what and when, in the layout of the thesis's evaluation files (video, csv, rttm and
castlist, each with a folder StoryWorld). truth/EPISODE.json says what is true of an episode: lines, laughs, and for
each shot the place, who is in it, which things, and where (boxes as fractions of the image). questions/EPISODE.json
holds questions about it, with answers, that need several systems at once.

  storyjax data series --out runs/series
  storyjax data series --things --out runs/series_things       with things such as Ana's dog Chia, and photos of them
  storyjax subtitle runs/series/video/StoryWorld/*.mp4 --cast runs/series/cast.json --out runs/subtitled
"""
ALIGN = """\
Combines a transcript that names the speakers but has no times ("Ana: Where have you been?") with one that has times but
no speakers (SRT, VTT, or the JSON of Whisper, WhisperX or `storyjax subtitle`): words are aligned, also where they were
misrecognised. Writes start,end,speaker,transcript, as in the thesis's evaluation files; check the result by hand.

  storyjax data align script.txt --timed episode.srt --out episode.csv
"""
FEATURES = """\
Computes the features of a config's frozen vision network for each video of its data set, once, and writes them to
DIR/train and so on; training then reads them instead of decoding videos: --config.data.tasks.nextqa.features=DIR.

  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features
  storyjax data features --config=configs/tcr_nextqa.py --out features --splits train val --dtype int8 \\
      --beam="--runner=FlinkRunner --flink_master=localhost:8081"
  storyjax train tcr_nextqa:embedded --workdir=DIR --config.data.tasks.nextqa.features=runs/features

The work is cut into shards, which Apache Beam (pip install 'storyjax[beam]') spreads over this machine or a cluster
whose workers see the same paths. If the command is stopped and run again, it keeps the shards that are complete.

Of each of the task's `frames` segments of a training video, --draws frames are stored, and training draws one of
them; of the other splits only the frame that evaluation uses is stored.
"""
PREPARE = """\
Prepares all records that a config trains and evaluates on, as its first run would, and prints how many there are. A
large data set takes hours, which a machine without a TPU may spend. Given again it takes what is there, and what was
stopped is begun anew, split by split.

  storyjax data prepare --config=tcr_nextqa
  storyjax data prepare --config=mqt_coco:pairs --set data.root.coco=gs://BUCKET/coco --set data.cache_dir=gs://BUCKET/prepared
"""
STORYWORLD = """\
Writes StoryWorld, seeded stories as mp4 files with questions about them, in the official layout of NExT-QA: train.csv,
val.csv, test.csv, map_vid_vidorID.json and the folder NExTVideo. stories/ has the ground truth of each story. A world
that is there already is left as it is.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7

--layout writes the layout of another data set of thesis Ch. 3 instead: yttemporal, egoschema (with Ego4D's narrations),
ego4d (anticipation, moment and language queries), msrvtt, kinetics or countix.

  storyjax data storyworld --layout ego4d --out runs/storyworld/ego4d --train 30 --val 8 --test 0
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    data = made["data"] = commands.add_parser("data", description=DATA)
    worlds = data.add_subparsers(
        dest="world", prog="storyjax data", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )
    _add_storyworld(worlds, made)
    _add_examples(worlds, made)

    align = made["data align"] = worlds.add_parser("align", description=ALIGN)
    align.add_argument("transcript", metavar="TRANSCRIPT", help="a text file with lines NAME: what is said")
    align.add_argument("--timed", required=True, metavar="FILE", help="SRT, VTT or JSON file with times")
    align.add_argument(
        "--encoding", metavar="NAME", help="of both files: cp1250, utf-16 ... (default: UTF-8, or it is detected)"
    )
    align.add_argument("--out", required=True, metavar="FILE", help="the CSV file to write")
    align.set_defaults(act=_align)

    prepare = made["data prepare"] = worlds.add_parser("prepare", description=PREPARE)
    prepare.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="a name or a file of configs/")
    _add_set(prepare)
    prepare.set_defaults(act=_prepare)

    features = made["data features"] = worlds.add_parser("features", description=FEATURES)
    features.add_argument(
        "--config", required=True, metavar="FILE[:VARIANT]", help="a config of NExT-QA fine-tuning (tcr_nextqa.py)"
    )
    features.add_argument("--out", required=True, metavar="DIR", help="the folder to write to; nothing else in it")
    features.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="splits to compute (default: train and the evaluated ones)"
    )
    features.add_argument("--dtype", default="bfloat16", help="stored type: bfloat16 (default), float16 or int8")
    features.add_argument(
        "--draws", type=int, default=3, metavar="N", help="frames stored of each segment, an odd number (default: 3)"
    )
    features.add_argument(
        "--shard-videos", "--shard-films", dest="shard_videos", type=int, default=64, metavar="N",
        help="videos in a shard (default: 64)",
    )  # fmt: skip
    features.add_argument("--beam", default="", metavar="OPTIONS", help="options of Apache Beam, in one string")
    _add_set(features)
    features.set_defaults(act=_features)


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides a config key: --set precision=full"
    )


def _add_out_and_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write to, new or empty")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help=f"another seed gives another {what} (default: 0)"
    )


def _add_storyworld(worlds: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    storyworld = made["data storyworld"] = worlds.add_parser("storyworld", description=STORYWORLD)
    _add_out_and_seed(storyworld, "world; only with --layout nextqa")
    for split, count in (("train", 600), ("val", 100), ("test", 100)):
        storyworld.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"stories in {split} (default: {count})"
        )
    storyworld.add_argument(
        "--layout", default="nextqa", metavar="NAME", help="data set whose layout is written (default: nextqa)"
    )
    storyworld.set_defaults(act=_storyworld)


def _add_examples(worlds: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the data sets that are examples for other commands."""
    album = made["data album"] = worlds.add_parser("album", description=ALBUM)
    _add_out_and_seed(album, "album")
    album.set_defaults(act=_album)

    tracks = made["data tracks"] = worlds.add_parser("tracks", description=TRACKS)
    _add_out_and_seed(tracks, "world")
    for part, count, what in (
        ("train", 4, "training sequences"),
        ("held-out", 4, "held-out sequences"),
        ("unseen", 2, "sequences of kinds that training never shows"),
    ):
        tracks.add_argument(f"--{part}", type=int, default=count, metavar="N", help=f"{what} (default: {count})")
    tracks.set_defaults(act=_tracks)

    series = made["data series"] = worlds.add_parser("series", description=SERIES)
    _add_out_and_seed(series, "season")
    series.add_argument("--episodes", type=int, default=6, metavar="N", help="episodes to write (default: 6)")
    series.add_argument(
        "--seconds", type=float, default=120.0, metavar="S", help="length of an episode in seconds (default: 120)"
    )
    series.add_argument(
        "--things", action="store_true", help="show particular things of the cast too, and write photos of each"
    )
    series.set_defaults(act=_series)


def _storyworld(arguments: argparse.Namespace) -> int:
    from storyjax.core.config import choose
    from storyjax.storyworld.export.long_videos import EXPORTS
    from storyjax.storyworld.export.nextqa import export_nextqa

    stories = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    if choose(arguments.layout, ("nextqa", *EXPORTS), "--layout") != "nextqa":
        if arguments.seed:
            raise StoryjaxError(f"--seed is not for --layout {arguments.layout}, which has a single world")
        stories = {split: count for split, count in stories.items() if count}
        folder = EXPORTS[arguments.layout](arguments.out, stories)
        print(f"{sum(stories.values())} stories in {folder}, in the layout of {arguments.layout}")
        return 0
    folder = export_nextqa(arguments.out, stories, arguments.seed)
    print(f"{sum(stories.values())} stories in {folder}; train on them with config.data.tasks.nextqa.root={folder}")
    return 0


def _album(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.album import export_album

    if not 0 <= arguments.seed < 1000:
        raise StoryjaxError(f"--seed is {arguments.seed}: give 0 to 999")
    folder = export_album(arguments.out, seed=arguments.seed)
    enrolled = sorted(path.name for path in (folder / "photos").iterdir())
    print(f"photos of {', '.join(enrolled)} and {len(list((folder / 'films').iterdir()))} videos in {folder}/films")
    return 0


def _tracks(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.tracks_mot import export_mot

    counts = {"train": arguments.train, "held_out": arguments.held_out, "unseen": arguments.unseen}
    if min(counts.values()) < 0 or not any(counts.values()) or max(counts.values()) > 999:
        raise StoryjaxError(
            "--train, --held-out and --unseen are numbers of sequences: give 0 to 999 each, and at least one in all."
        )
    if not 0 <= arguments.seed < 1000:
        raise StoryjaxError(f"--seed is {arguments.seed}: give 0 to 999")
    folder = export_mot(arguments.out, counts, arguments.seed, films=True)
    print(f"{sum(counts.values())} sequences in {folder}/train, those held out also as videos in {folder}/films")
    return 0


def _series(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.series import export_series

    if not 1 <= arguments.episodes <= 99 or not 5 <= arguments.seconds <= 3600 or not 0 <= arguments.seed < 1000:
        raise StoryjaxError("give 1 to 99 --episodes of 5 to 3600 --seconds, and a --seed from 0 to 999")
    folder = export_series(
        arguments.out, arguments.episodes, arguments.seconds, seed=arguments.seed, things=arguments.things
    )
    print(f"{arguments.episodes} episodes in {folder}; subtitle them with --cast {folder / 'cast.json'}")
    return 0


def _align(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from storyjax.core.files import check_outputs
    from storyjax.subtitles.align import align, read_labelled, write_lines
    from storyjax.subtitles.transcripts import parse_transcript

    check_outputs([("--out", arguments.out)], [arguments.transcript, arguments.timed], make_folders=True)
    lines = read_labelled(arguments.transcript, arguments.encoding)
    timed = parse_transcript(arguments.timed, arguments.encoding)
    for note in timed.notes():
        print(f"storyjax: note: {note}", file=sys.stderr)
    found = align(lines, timed.words)
    write_lines(Path(arguments.out), found)
    print(f"{len(found)} of {len(lines)} lines in {arguments.out}; the others were not found in the timed transcript")
    return 0


def _config(arguments: argparse.Namespace) -> "ConfigDict":
    """The config that is named, with what --set overrides."""
    from storyjax.core.config import load_config, override
    from storyjax.train.settings import CHAPTER_SECTIONS, complete

    config = complete(load_config(arguments.config))
    for pair in arguments.set:
        key, _, value = pair.partition("=")
        override(config, key, value, open_sections=CHAPTER_SECTIONS)
    return config


def _prepare(arguments: argparse.Namespace) -> int:
    from storyjax.train.experiment import build_experiment

    prepare = build_experiment(_config(arguments)).prepare
    if prepare is None:
        raise StoryjaxError(f"{arguments.config} reads its data as they are: there is nothing to prepare")
    for split, count in prepare().items():
        print(f"{split}: {count} records")
    return 0


def _features(arguments: argparse.Namespace) -> int:
    import functools
    import shlex

    from storyjax.core.config import choose
    from storyjax.data.beam import run_shards
    from storyjax.data.builders.nextqa import SPLITS
    from storyjax.data.features import DTYPES, Dtype
    from storyjax.tcr.features import compute_features, questions_task

    config = _config(arguments)
    name, data = questions_task(config)
    if arguments.shard_videos < 1:
        raise StoryjaxError(f"--shard-videos is {arguments.shard_videos}; it must be at least 1.")
    splits = arguments.splits or ["train", *data.eval_splits]
    made = compute_features(
        config,
        arguments.out,
        [choose(split, SPLITS, "--splits") for split in splits],
        dtype=cast(Dtype, choose(arguments.dtype, DTYPES, "--dtype")),
        draws=arguments.draws,
        shard_videos=arguments.shard_videos,
        run=functools.partial(run_shards, options=shlex.split(arguments.beam)),
    )
    for split, (new, total) in made.items():
        print(f"{split}: {total} shards in {arguments.out}/{split}, {new} of them made now")
    print(f"train on them with --config.data.tasks.{name}.features={arguments.out}")
    return 0
