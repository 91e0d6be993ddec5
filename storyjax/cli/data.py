"""`storyjax data`: data sets to train and test on."""

import argparse

from storyjax.core.errors import StoryjaxError

DATA = """\
Writes data sets to train and test on.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7
  storyjax data album --out runs/album
  storyjax data tracks --out runs/tracks
  storyjax data series --out runs/series
  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features
"""
ALBUM = """\
Writes photos of a few people and things of StoryWorld, and films in which they appear, to try `storyjax find` with;
truth.json tells who does what, where and when.

  storyjax data album --out runs/album
  storyjax find enrol ivy runs/album/photos/ivy
  storyjax find index runs/album/films --out runs/index
  storyjax find "An image of <ivy> dancing" --index runs/index
"""
TRACKS = """\
Writes sequences of StoryWorld to track in, in MOTChallenge's layout: people, things and vehicles that cross, hide each
other, leave and come back, with their truth and the boxes of three imitated detectors; the sequences held out of
training are also there as films.

  storyjax data tracks --out runs/tracks
  storyjax track runs/tracks/films/StoryWorld-8001.mp4 --render tracked.mp4
  storyjax track runs/tracks/train/StoryWorld-8001-SDP --detections runs/tracks/train/StoryWorld-8001-SDP/det/det.txt
"""
SERIES = """\
Writes episodes of a series of StoryWorld with sound, to try `storyjax subtitle` with: videos, cast lists with photos
and with samples of voices, and who says what and when, in the layout of the thesis's evaluation files (video, csv, rttm
and castlist, each with a folder StoryWorld).

  storyjax data series --out runs/series
  storyjax subtitle runs/series/video/StoryWorld/*.mp4 --cast runs/series/cast.json --out runs/subtitled
"""
ALIGN = """\
Says who speaks each line and when, from a transcript that tells who ("Ana: Where have you been?") but not when, and one
that tells when (SRT, VTT, or the JSON of Whisper, WhisperX or `storyjax subtitle`) but not who: words are aligned, also
where they were misheard. Writes start,end,speaker,transcript as the thesis's evaluation files have it; look it over.

  storyjax data align script.txt --timed film.srt --out film.csv
"""
FEATURES = """\
Computes what the frozen vision tower of a config sees in each film of its data set, once, and writes it to DIR/train
and so on; training then reads it instead of decoding films: --config.data.features=DIR.

  storyjax data features --config=configs/tcr_nextqa.py:embedded --out runs/features
  storyjax data features --config=configs/tcr_nextqa.py --out features --splits train val --dtype int8 \\
      --beam="--runner=FlinkRunner --flink_master=localhost:8081"
  storyjax train tcr_nextqa:embedded --workdir=DIR --config.data.tasks.nextqa.features=runs/features

The work is cut into shards, which Apache Beam (pip install 'storyjax[beam]') spreads over this machine or a cluster
whose workers see the same paths. Stopped in whatever way and given again, the command keeps the shards that are whole.

Of each of the config's data.frames segments of a training film, --draws frames are stored, and training draws one of
them; of the other splits the frame that evaluation looks at.
"""
STORYWORLD = """\
Writes StoryWorld, seeded stories as mp4 files with questions about them, in the official layout of NExT-QA: train.csv,
val.csv, test.csv, map_vid_vidorID.json and the folder NExTVideo. stories/ has what is true of each story. A world that
is there already is left as it is.

  storyjax data storyworld --out runs/storyworld/nextqa
  storyjax data storyworld --out world --train 1000 --val 50 --test 100 --seed 7

--layout writes it as another data set of thesis Ch. 3 instead: yttemporal, egoschema (with Ego4D's narrations), ego4d
(anticipation, moment and language queries), msrvtt, kinetics or countix.

  storyjax data storyworld --layout ego4d --out runs/storyworld/ego4d --train 30 --val 8 --test 0
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    data = made["data"] = commands.add_parser("data", description=DATA)
    worlds = data.add_subparsers(
        dest="world", prog="storyjax data", metavar="DATASET", required=True, help=argparse.SUPPRESS
    )
    storyworld = made["data storyworld"] = worlds.add_parser("storyworld", description=STORYWORLD)
    storyworld.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    for split, count in (("train", 600), ("val", 100), ("test", 100)):
        storyworld.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"stories in {split} (default: {count})"
        )
    storyworld.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed is another world (default: 0); of nextqa alone"
    )
    storyworld.add_argument("--layout", default="nextqa", metavar="NAME", help="of which data set (default: nextqa)")
    storyworld.set_defaults(act=_storyworld)

    album = made["data album"] = worlds.add_parser("album", description=ALBUM)
    album.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    album.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another album (default: 0)")
    album.set_defaults(act=_album)

    tracks = made["data tracks"] = worlds.add_parser("tracks", description=TRACKS)
    tracks.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    for part, count, what in (
        ("train", 4, "to train with"),
        ("held-out", 4, "held out"),
        ("unseen", 2, "of new kinds"),
    ):
        tracks.add_argument(
            f"--{part}", type=int, default=count, metavar="N", help=f"sequences {what} (default: {count})"
        )
    tracks.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another world (default: 0)")
    tracks.set_defaults(act=_tracks)

    series = made["data series"] = worlds.add_parser("series", description=SERIES)
    series.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    series.add_argument("--episodes", type=int, default=6, metavar="N", help="(default: 6)")
    series.add_argument("--seconds", type=float, default=120.0, metavar="S", help="of an episode (default: 120)")
    series.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another season (default: 0)")
    series.set_defaults(act=_series)

    align = made["data align"] = worlds.add_parser("align", description=ALIGN)
    align.add_argument("transcript", metavar="TRANSCRIPT", help="text: each line NAME: what is said")
    align.add_argument("--timed", required=True, metavar="FILE", help="SRT, VTT or JSON with times")
    align.add_argument("--out", required=True, metavar="FILE", help="a table with commas")
    align.set_defaults(act=_align)

    features = made["data features"] = worlds.add_parser("features", description=FEATURES)
    features.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="of NExT-QA fine-tuning")
    features.add_argument("--out", required=True, metavar="DIR", help="a folder of their own")
    features.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="default: train, and what the config evaluates on"
    )
    features.add_argument("--dtype", default="bfloat16", help="bfloat16 (default), float16 or int8")
    features.add_argument("--draws", type=int, default=3, metavar="N", help="frames of a segment, odd (default: 3)")
    features.add_argument("--shard-films", type=int, default=64, metavar="N", help="films of a shard (default: 64)")
    features.add_argument("--beam", default="", metavar="OPTIONS", help="Beam's own options, in one string")
    features.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes the config: --set data.frames=24"
    )
    features.set_defaults(act=_features)


def _storyworld(arguments: argparse.Namespace) -> int:
    from storyjax.core.config import choose
    from storyjax.storyworld.export.long_videos import EXPORTS
    from storyjax.storyworld.export.nextqa import export_nextqa

    stories = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    if choose(arguments.layout, ("nextqa", *EXPORTS), "--layout") != "nextqa":
        if arguments.seed:
            raise StoryjaxError(f"--seed is not for --layout {arguments.layout}: it has one world")
        stories = {split: count for split, count in stories.items() if count}
        folder = EXPORTS[arguments.layout](arguments.out, stories)
        print(f"{sum(stories.values())} stories in {folder}, in the layout of {arguments.layout}")
        return 0
    folder = export_nextqa(arguments.out, stories, arguments.seed)
    print(f"{sum(stories.values())} stories in {folder}; train on them with config.data.manual_dir={folder}")
    return 0


def _album(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.album import export_album

    if not 0 <= arguments.seed < 1000:
        raise StoryjaxError(f"--seed is {arguments.seed}: give 0 to 999")
    folder = export_album(arguments.out, seed=arguments.seed)
    enrolled = sorted(path.name for path in (folder / "photos").iterdir())
    print(f"photos of {', '.join(enrolled)} and {len(list((folder / 'films').iterdir()))} films in {folder}")
    return 0


def _tracks(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.tracks_mot import export_mot

    counts = {"train": arguments.train, "held_out": arguments.held_out, "unseen": arguments.unseen}
    if min(counts.values()) < 0 or not any(counts.values()) or max(counts.values()) > 999:
        raise StoryjaxError(
            "--train, --held-out and --unseen are numbers of sequences: give 0 to 999, and not 0 thrice."
        )
    if not 0 <= arguments.seed < 1000:
        raise StoryjaxError(f"--seed is {arguments.seed}: give 0 to 999")
    folder = export_mot(arguments.out, counts, arguments.seed, films=True)
    print(f"{sum(counts.values())} sequences in {folder}/train, those held out also as films in {folder}/films")
    return 0


def _series(arguments: argparse.Namespace) -> int:
    from storyjax.storyworld.export.series import export_series

    if not 1 <= arguments.episodes <= 99 or not 5 <= arguments.seconds <= 3600 or not 0 <= arguments.seed < 1000:
        raise StoryjaxError("give 1 to 99 --episodes of 5 to 3600 --seconds, and a --seed from 0 to 999")
    folder = export_series(arguments.out, arguments.episodes, arguments.seconds, seed=arguments.seed)
    print(f"{arguments.episodes} episodes in {folder}; subtitle them with --cast {folder / 'cast.json'}")
    return 0


def _align(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from storyjax.subtitles.align import align, read_labelled, write_lines
    from storyjax.subtitles.transcripts import read_transcript

    lines = read_labelled(arguments.transcript)
    found = align(lines, read_transcript(arguments.timed))
    write_lines(Path(arguments.out), found)
    print(f"{len(found)} of {len(lines)} lines in {arguments.out}; the others were not heard at all")
    return 0


def _features(arguments: argparse.Namespace) -> int:
    import functools
    import shlex

    from storyjax.core.config import choose, load_config, override
    from storyjax.data.beam import run_shards
    from storyjax.data.builders.nextqa import SPLITS
    from storyjax.data.features import DTYPES
    from storyjax.tcr.features import compute_features, questions_task
    from storyjax.train.settings import CHAPTER_SECTIONS, complete

    config = complete(load_config(arguments.config))
    for pair in arguments.set:
        key, _, value = pair.partition("=")
        override(config, key, value, open_sections=CHAPTER_SECTIONS)
    name, data = questions_task(config)
    if arguments.shard_films < 1:
        raise StoryjaxError(f"--shard-films is {arguments.shard_films}; it must be at least 1.")
    splits = arguments.splits or ["train", *data.eval_splits]
    made = compute_features(
        config,
        arguments.out,
        [choose(split, SPLITS, "--splits") for split in splits],
        dtype=choose(arguments.dtype, DTYPES, "--dtype"),
        draws=arguments.draws,
        shard_films=arguments.shard_films,
        run=functools.partial(run_shards, options=shlex.split(arguments.beam)),
    )
    for split, (new, total) in made.items():
        print(f"{split}: {total} shards in {arguments.out}/{split}, {new} of them made now")
    print(f"train on them with --config.data.tasks.{name}.features={arguments.out}")
    return 0
