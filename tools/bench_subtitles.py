"""Measures time and memory of `storyjax subtitle` without recognition.

    storyjax data series --episodes 5 --out runs/series
    python tools/bench_subtitles.py --series runs/series --work runs/bench --minutes 10 120

Every run is a process of its own that finds no cached records, and is given transcripts. The episodes are named first
with nothing compiled, then with JAX's compilation cache filled by that; then videos of --minutes each, joined of the
same episodes without decoding anything. Prints processor time (user and system, of all cores) and wall time in seconds,
both as multiples of real time, and the peak of resident memory. Other programs hardly change processor time.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from storyjax.data.video import probe


def join(videos: Sequence[Path], out: Path, seconds: float) -> list[float]:
    """Writes videos one after another, and again from the first, until `seconds` are full; returns when each begins."""
    starts, now = [], 0.0
    with av.open(str(out), "w") as made:
        streams: dict[str, Any] = {}
        while now < seconds:
            video = videos[len(starts) % len(videos)]
            with av.open(str(video)) as read:
                for stream in (read.streams.video[0], read.streams.audio[0]):
                    if stream.type not in streams:
                        streams[stream.type] = made.add_stream_from_template(stream)
                ends = []
                for packet in read.demux(read.streams.video[0], read.streams.audio[0]):
                    # The encoder's priming, before 0:00, would overlap the video before.
                    if packet.dts is None or (starts and packet.stream.type == "audio" and packet.pts < 0):
                        continue
                    shift = round(Fraction(now).limit_denominator(10**6) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    ends.append(float((packet.pts + packet.duration) * packet.time_base))
                    packet.stream = streams[packet.stream.type]
                    made.mux(packet)
            starts.append(now)
            now = max(ends)
    return starts


def transcript(truths: Sequence[Path], starts: Sequence[float], out: Path) -> Path:
    """Returns the transcript file of videos joined so, as `--transcript` takes it."""
    said = [json.loads(path.read_text("utf-8"))["lines"] for path in truths]
    lines = [
        {"start": row["start"] + start, "end": row["end"] + start, "text": row["text"]}
        for number, start in enumerate(starts)
        for row in said[number % len(said)]
    ]
    out.write_text(json.dumps({"segments": lines}), encoding="utf-8")
    return out


def listed(series: Path, out: Path) -> Path:
    """Returns a copy of the series' cast list without its episodes, for joined videos have other names."""
    cast = json.loads((series / "cast.json").read_text("utf-8"))["cast"]
    for member in cast:
        member["photos"] = [str((series / photo).resolve()) for photo in member["photos"]]
    out.write_text(json.dumps({"cast": cast}), encoding="utf-8")
    return out


def measure(
    videos: Sequence[Path], cast: Path, transcripts: Sequence[Path], work: Path, cache: Path, match: str
) -> dict[str, float]:
    """Names the lines of videos in a process of its own, without cached records; returns times, rates, peak memory."""
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-m", "storyjax.cli", "subtitle", *map(str, videos), "--cast", str(cast)]
    command += ["--transcript", *map(str, transcripts), "--work", str(work / "work"), "--out", str(work / "out")]
    command += ["--match", match]
    own = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    begun = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, {**os.environ, **own})
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    length = sum(probe(str(video)).duration_s for video in videos)
    cpu = used.ru_utime + used.ru_stime
    return {
        "video_s": length,
        "cpu_s": cpu,
        "wall_s": wall,
        "times_real_cpu": length / cpu,
        "times_real_wall": length / wall,
        "peak_mb": used.ru_maxrss / 1024,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, required=True, help="what `storyjax data series` wrote")
    parser.add_argument("--work", type=Path, required=True, help="a folder for videos and cached records")
    parser.add_argument("--minutes", type=float, nargs="*", default=[], help="lengths of joined videos")
    parser.add_argument("--match", default="query", help="how faces are matched, as `storyjax subtitle` takes it")
    parser.add_argument("--no-episodes", action="store_true", help="joined videos alone")
    parser.add_argument("--json", type=Path, help="writes the numbers there, too")
    given = parser.parse_args(arguments)
    videos = sorted(given.series.glob("video/*/*.mp4"))
    truths = [given.series / "truth" / f"{video.stem}.json" for video in videos]
    if not videos:
        parser.error(f"{given.series} holds no series: storyjax data series --out {given.series}")
    given.work.mkdir(parents=True, exist_ok=True)
    cast, cache, rows = listed(given.series, given.work / "cast.json"), given.work / "compiled", {}

    def run(label: str, videos: Sequence[Path], transcripts: Sequence[Path]) -> None:
        row = rows[label] = measure(videos, cast, transcripts, given.work / "run", cache, given.match)
        print(
            f"{label}: {row['video_s'] / 60:.1f} min of video, {row['cpu_s']:.1f} s processor time"
            f" ({row['times_real_cpu']:.1f} x real time), {row['wall_s']:.1f} s wall time"
            f" ({row['times_real_wall']:.1f} x), peak {row['peak_mb']:.0f} MB",
            flush=True,
        )

    if not given.no_episodes:
        said = [transcript([truth], [0.0], given.work / f"{truth.stem}.json") for truth in truths]
        shutil.rmtree(cache, ignore_errors=True)
        run("episodes, compiling", videos, said)
        run("episodes, compiled before", videos, said)
    for minutes in given.minutes:
        video = given.work / f"video_{minutes:g}.mp4"
        starts = join(videos, video, 60 * minutes)
        run(f"a video of {minutes:g} minutes", [video], [transcript(truths, starts, video.with_suffix(".json"))])
        video.unlink()
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
