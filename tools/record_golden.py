"""Records anew the numbers that tests/golden compares with.

    JAX_PLATFORMS=cpu python tools/record_golden.py steps [NAME:VARIANT ...]
    JAX_PLATFORMS=cpu python tools/record_golden.py short [WEIGHTS ...]     (evaluations of the weights that ship)
    JAX_PLATFORMS=cpu python tools/record_golden.py long [WEIGHTS ...]

Without names all of the kind are recorded. They are the proof that a change of the code changes no number, so they are
recorded before it and not after.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "golden"))

import golden
from recipes import LONG, SHORT, STEPPED

KINDS = {"steps": STEPPED, "short": SHORT, "long": LONG}


def record(kind: str, names: list[str], out: Path = golden.HERE) -> None:
    """Makes the runs `names` of a kind and writes what they gave into `out`/KIND.json."""
    path = out / f"{kind}.json"
    kept = json.loads(path.read_text()) if path.exists() else {"machine": golden.machine(), "recorded": {}}
    if kept["machine"] != golden.machine():
        if set(names) < set(kept["recorded"]):
            sys.exit(f"{path} is of another machine: record all of it, or record on that one.")
        kept = {"machine": golden.machine(), "recorded": {}}
    with tempfile.TemporaryDirectory() as folder, golden.surroundings(kind, Path(folder)):
        for number, name in enumerate(names):
            begun = time.process_time()
            kept["recorded"][name] = golden.make(kind, name, Path(folder), Path(folder) / f"run_{number}")
            kept["recorded"] = {one: kept["recorded"][one] for one in KINDS[kind] if one in kept["recorded"]}
            golden.write(path, kept)
            print(f"{name}: {time.process_time() - begun:.1f} s of processor time", flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=golden.HERE, help="the folder of the files")
    arguments = parser.parse_args()
    known = KINDS[arguments.kind]
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(known)}")
    record(arguments.kind, arguments.names or list(known), arguments.out)


if __name__ == "__main__":
    main()
