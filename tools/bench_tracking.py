"""Measures time and memory of tracking per frame, from the 100th to the 10,000th: neither should grow.

    python tools/bench_tracking.py
    python tools/bench_tracking.py --frames 2000 --checkpoint runs/mqt_mot17

One tracker processes an endless video: StoryWorld's sequences one after another, with the cuts between them, so that
new tracks are always started and old ones removed. Drawing is not timed. Processor seconds are those of all threads: on
idle cores a frame takes no longer than that.
"""

import argparse
import collections
import itertools
import json
import time
from collections.abc import Iterator

import numpy as np

WINDOW = 100  # frames that a line averages over
SHOWN = (WINDOW, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--checkpoint", default="shipped:mqt_storyworld", help="a run's workdir, or shipped:NAME")
    parser.add_argument("--json", metavar="FILE", help="file to write the numbers to")
    return parser.parse_args(argv)


def frames() -> Iterator[np.ndarray]:
    """Yields endless frames (y, x, 3) uint8."""
    from storyjax.storyworld.story.tracks import plan_sequence, render_sequence

    for seed in itertools.count(70_000_000):
        for image, _ in render_sequence(plan_sequence(seed)):
            yield image


def resident_mib() -> float:
    """Returns the resident memory of this process, in MiB (Linux)."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))


def measure(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Returns an entry for each window of SHOWN, and prints them as a table."""
    from storyjax.mqt.predict import Tracker

    tracker, rows, highest = Tracker.from_pretrained(arguments.checkpoint), [], 0
    wall, processor, counts = (collections.deque(maxlen=WINDOW) for _ in range(3))
    print("| frames up to | ms a frame, median | processor ms, mean | MiB held | tracks in a frame | tracks so far |")
    print("|---|---|---|---|---|---|")
    for number, image in enumerate(itertools.islice(frames(), arguments.frames), 1):
        if number == 1:
            tracker.start(image.shape[1], image.shape[0])
        began, processor_began = time.perf_counter(), time.process_time()
        found = tracker.step(image)
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - processor_began)
        counts.append(len(found))
        highest = max(highest, *(one.id for one in found), 0)
        if number in SHOWN or number == arguments.frames:
            row = {
                "frame": number,
                "milliseconds": 1000 * float(np.median(wall)),
                "processor_milliseconds": 1000 * float(np.mean(processor)),
                "mebibytes": resident_mib(),
                "tracks": float(np.mean(counts)),
                "tracks_so_far": highest,
            }
            rows.append(row)
            cells = (f"{row[name]:.1f}" for name in ("milliseconds", "processor_milliseconds"))
            print(
                f"| {number} | {' | '.join(cells)} | {row['mebibytes']:.0f} | {row['tracks']:.1f} | {highest} |",
                flush=True,
            )
    return rows


def main() -> None:
    """Runs the benchmark."""
    arguments = parse()
    rows = measure(arguments)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
