"""Memory and time of indexing a long video: `python tools/bench_indexing.py --workdir DIR`.

Joins StoryWorld's stories into a video of each of --minutes (the streams are copied, nothing is encoded again) and
indexes each with `storyjax find index` in a process of its own. With the longest, that process is ended with
kill -9 when half of the clips are indexed, and the same command continues. Prints the peak memory of each process, its
processor time, and whether every clip is in the index, once. (tests/search/test_indexing.py checks that a killed run
ends with the same index as an uninterrupted one.)
"""

import argparse
import contextlib
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av

from storyjax.core.errors import StoryjaxError
from storyjax.search.indexing import CLIP_S
from storyjax.search.store import FILE
from storyjax.storyworld.render.world import render_missing

_FIRST_SEED = 14_000_000  # beyond all training stories
_SECONDS = 45  # a story, about
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # whether a process has ended, without reaping it


def render_stories(folder: Path, minutes: float) -> list[Path]:
    """Returns as many stories as the longest video needs; missing ones are rendered."""
    count = int(minutes * 60 / _SECONDS) + 1
    paths = {_FIRST_SEED + number: folder / f"{number:04d}.mp4" for number in range(count)}
    render_missing(list(paths.items()))
    return list(paths.values())


def join(parts: Sequence[Path], minutes: float, path: Path) -> float:
    """Joins `parts`, repeated if they are too short, into one video of `minutes`, and returns its seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds, number = 0.0, 0
    with av.open(str(path), "w") as joined:
        stream = None
        while seconds < minutes * 60:
            with av.open(str(parts[number % len(parts)])) as part:
                source = part.streams.video[0]
                stream = stream or joined.add_stream_from_template(source)
                shift = round(seconds / source.time_base)
                for packet in part.demux(source):
                    if packet.dts is None:  # the end
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    joined.mux(packet)
                seconds += float(source.duration * source.time_base)
            number += 1
    return seconds


def index(folder: Path, out: Path, every_s: float, stop_at: int | None = None) -> dict[str, float]:
    """Indexes `folder` in another process, ended with kill -9 at `stop_at` clips; returns memory and time."""
    command = [sys.executable, "-m", "storyjax.cli", "find", "index", str(folder), "--out", str(out)]
    command += ["--every", f"{every_s:g}"]
    begun = time.perf_counter()
    # A full pipe would stop the process.
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        if stop_at is not None:
            while len(clips(out)) < stop_at and os.waitid(os.P_PID, process.pid, _LOOK) is None:
                time.sleep(0.5)
            os.kill(process.pid, signal.SIGKILL)  # process.kill() would reap it first
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        last = output.read().decode(errors="replace").strip().splitlines()[-1:]
    if process.returncode not in (0, 0 if stop_at is None else -signal.SIGKILL):
        raise StoryjaxError(f"indexing {folder} failed: {' '.join(last)}")
    seconds = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.perf_counter() - begun}
    return {"peak_gb": used.ru_maxrss / 2**20, **seconds}


def clips(out: Path) -> list[int]:
    """Returns the numbers of the clips in an index, in order."""
    if not (out / FILE).exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{out / FILE}?mode=ro", uri=True)) as store:
        try:
            return [number for (number,) in store.execute("SELECT clip FROM vectors WHERE kind = 'clip' ORDER BY clip")]
        except sqlite3.OperationalError:  # its tables are not there yet
            return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="where videos and indexes go")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 60.0], help="lengths of videos")
    parser.add_argument("--every", type=float, default=CLIP_S, help="seconds from a clip to the next (default: 2)")
    arguments = parser.parse_args()
    lengths = sorted(arguments.minutes)
    parts = render_stories(arguments.workdir / "stories", lengths[-1])
    for minutes in lengths:
        folder, out = (arguments.workdir / f"{kind}_{minutes:g}" for kind in ("video", "index"))
        seconds = join(parts, minutes, folder / "video.mp4")
        shutil.rmtree(out, ignore_errors=True)
        expected = list(range(math.ceil(seconds / arguments.every)))
        print(f"{seconds / 60:.1f} minutes of video", flush=True)
        if minutes == lengths[-1]:
            killed = index(folder, out, arguments.every, stop_at=len(expected) // 2)
            print(f"  ended with kill -9 when {len(clips(out))} clips were indexed: {_format(killed)}", flush=True)
        print(f"  to the end: {_format(index(folder, out, arguments.every))}")
        print(f"  {len(clips(out))} clips, each once: {clips(out) == expected}", flush=True)


def _format(took: dict[str, float]) -> str:
    return f"peak {took['peak_gb']:.2f} GB, {took['cpu_s']:.0f} s of processor time in {took['wall_s']:.0f} s"


if __name__ == "__main__":
    main()
