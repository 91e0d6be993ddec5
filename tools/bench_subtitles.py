"""What `storyjax subtitle` takes without recognition.

    storyjax data series --episodes 5 --out runs/series
    python tools/bench_subtitles.py --series runs/series --work runs/bench --minutes 10 120

Every run is a process of its own that finds no products of stages, and is given what is said. The episodes are named
first with nothing compiled, then with JAX's compilation cache filled by that; then films of --minutes each, joined of
the same episodes without decoding anything. Prints seconds of the processor (user and system, of all cores), seconds of
the wall, how many times as fast as the film's own time both are, and the peak of resident memory. Other work on the
machine hardly changes the processor's seconds.
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


def join(films: Sequence[Path], out: Path, seconds: float) -> list[float]:
    """Writes films one after another, and again from the first, until `seconds` are full; returns when each begins."""
    starts, now = [], 0.0
    with av.open(str(out), "w") as made:
        streams: dict[str, Any] = {}
        while now < seconds:
            film = films[len(starts) % len(films)]
            with av.open(str(film)) as read:
                for stream in (read.streams.video[0], read.streams.audio[0]):
                    if stream.type not in streams:
                        streams[stream.type] = made.add_stream_from_template(stream)
                ends = []
                for packet in read.demux(read.streams.video[0], read.streams.audio[0]):
                    # The encoder's priming, before 0:00, would overlap the film before.
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
    """What is said in films joined so, as `--transcript` takes it."""
    said = [json.loads(path.read_text("utf-8"))["lines"] for path in truths]
    lines = [
        {"start": row["start"] + start, "end": row["end"] + start, "text": row["text"]}
        for number, start in enumerate(starts)
        for row in said[number % len(said)]
    ]
    out.write_text(json.dumps({"segments": lines}), encoding="utf-8")
    return out


def listed(series: Path, out: Path) -> Path:
    """The series' cast list without its episodes, for joined films have other names."""
    cast = json.loads((series / "cast.json").read_text("utf-8"))["cast"]
    for member in cast:
        member["photos"] = [str((series / photo).resolve()) for photo in member["photos"]]
    out.write_text(json.dumps({"cast": cast}), encoding="utf-8")
    return out


def measure(
    films: Sequence[Path], cast: Path, transcripts: Sequence[Path], work: Path, cache: Path, match: str
) -> dict[str, float]:
    """Names the lines of films in a process of its own that finds no products, and says what it took."""
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-m", "storyjax.cli", "subtitle", *map(str, films), "--cast", str(cast)]
    command += ["--transcript", *map(str, transcripts), "--work", str(work / "work"), "--out", str(work / "out")]
    command += ["--match", match]
    own = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    begun = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, {**os.environ, **own})
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    length = sum(probe(str(film)).duration_s for film in films)
    cpu = used.ru_utime + used.ru_stime
    return {
        "film_s": length,
        "cpu_s": cpu,
        "wall_s": wall,
        "times_real_cpu": length / cpu,
        "times_real_wall": length / wall,
        "peak_mb": used.ru_maxrss / 1024,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, required=True, help="what `storyjax data series` wrote")
    parser.add_argument("--work", type=Path, required=True, help="a folder for films and products")
    parser.add_argument("--minutes", type=float, nargs="*", default=[], help="lengths of joined films")
    parser.add_argument("--match", default="query", help="how faces are told, as `storyjax subtitle` takes it")
    parser.add_argument("--no-episodes", action="store_true", help="joined films alone")
    parser.add_argument("--json", type=Path, help="writes the numbers there, too")
    given = parser.parse_args(arguments)
    films = sorted(given.series.glob("video/*/*.mp4"))
    truths = [given.series / "truth" / f"{film.stem}.json" for film in films]
    if not films:
        parser.error(f"{given.series} holds no series: storyjax data series --out {given.series}")
    given.work.mkdir(parents=True, exist_ok=True)
    cast, cache, rows = listed(given.series, given.work / "cast.json"), given.work / "compiled", {}

    def run(label: str, films: Sequence[Path], transcripts: Sequence[Path]) -> None:
        row = rows[label] = measure(films, cast, transcripts, given.work / "run", cache, given.match)
        print(
            f"{label}: {row['film_s'] / 60:.1f} min of film, {row['cpu_s']:.1f} s of the processor"
            f" ({row['times_real_cpu']:.1f} x real time), {row['wall_s']:.1f} s of the wall"
            f" ({row['times_real_wall']:.1f} x), peak {row['peak_mb']:.0f} MB",
            flush=True,
        )

    if not given.no_episodes:
        said = [transcript([truth], [0.0], given.work / f"{truth.stem}.json") for truth in truths]
        shutil.rmtree(cache, ignore_errors=True)
        run("episodes, compiling", films, said)
        run("episodes, compiled before", films, said)
    for minutes in given.minutes:
        film = given.work / f"film_{minutes:g}.mp4"
        starts = join(films, film, 60 * minutes)
        run(f"a film of {minutes:g} minutes", [film], [transcript(truths, starts, film.with_suffix(".json"))])
        film.unlink()
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
