"""Runs the notebooks of demos/ from top to bottom and writes their outputs anew, or checks those that are there.

    python tools/run_demos.py                          all of them, in place
    python tools/run_demos.py demos/tcr.ipynb          one
    python tools/run_demos.py --check                  runs them and compares what they print with what is there
    python tools/run_demos.py --repository ada/storyjax   writes the repository's address into them, without running

A notebook runs in an empty folder of its own, on whatever JAX finds, without a models folder and without the hub. What
would differ from one machine to another is taken out: paths, rates, times of execution. The outputs belong to the
sources that made them, whose hash is in the notebook's metadata; tests/test_demos.py holds both. Numbers are compared
loosely, for processors round differently; cells with the tag "varies" are not compared at all.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically
from storyjax.core.runtime import prepare_runtime
from storyjax.main import report_errors

ROOT = Path(__file__).resolve().parents[1]
DEMOS = ROOT / "demos"
VARIES = "varies"
MAX_BYTES = 200_000  # of a notebook
CELL_SECONDS = 600
TOLERANCE, LEAST = 0.25, 0.1  # of numbers: relative, and absolute
_NOTE = re.compile(r"storyjax: (?!error)")
_NO_MATTER = re.compile(r"\d%\||IProgress not found|import tqdm as notebook_tqdm|font cache")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_PATH = re.compile(r"(?<![\w/:.~-])/[\w.-]+/[\w./-]+")  # no part of an address
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "STORYJAX_MODELS": "off",
    "TOKENIZERS_PARALLELISM": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA tells of compiling for long
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # of a debugger that nobody uses here, which warns of frozen modules
}


def source_hash(notebook: nbformat.NotebookNode) -> str:
    """Returns the SHA-256 of the sources of a notebook's code."""
    sources = [cell.source for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def read(path: Path) -> nbformat.NotebookNode:
    """Returns a notebook.

    Raises:
        StoryjaxError: there is none, or it is not valid.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoryjaxError(f"{path} is no notebook ({reason}): give the path of one of demos/") from error
    return notebook


def execute(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Returns a copy of a notebook with the outputs of its code, run from top to bottom in an empty folder.

    Args:
        notebook: is left as it is.
        name: for messages.

    Raises:
        StoryjaxError: a cell fails, in one line with its number.
    """
    done = nbformat.reads(nbformat.writes(notebook), as_version=4)
    for cell in code_cells(done):
        cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="demo") as folder:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {**_SETTINGS, "PYTHONPATH": os.pathsep.join(paths)}
        place = {"metadata": {"path": folder}}
        client = NotebookClient(done, timeout=CELL_SECONDS, startup_timeout=300, kernel_name="python3", resources=place)
        try:
            client.execute(
                stderr=subprocess.DEVNULL, env={**os.environ, **settings}
            )  # standard error is the kernel's own
        except CellExecutionError as error:
            failed = [number for number, cell in enumerate(code_cells(done), 1) if "error" in _kinds(cell)]
            text = f"{error.ename}: {error.evalue}"
            raise StoryjaxError(f"{name}, code cell {failed[0] if failed else '?'}: {text}") from error
        except (DeadKernelError, AssertionError) as error:  # the second: nbclient has lost the kernel's manager
            raise StoryjaxError(f"{name}: the kernel ended, interrupted or without memory: run it again") from error
        _tidy(done, Path(folder))
    return done


def code_cells(notebook: nbformat.NotebookNode) -> list[Any]:
    """Returns the cells that have code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _kinds(cell: Any) -> set[str]:
    return {output.output_type for output in cell.outputs}


def _tidy(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Takes out of the outputs what another machine would not print."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    own = {"sources": source_hash(notebook)}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}, "storyjax": own})
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
        cell.metadata.pop("execution", None)
        outputs: list[Any] = []
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if output.output_type == "stream":
                output.text = _same_everywhere(output.text, folder)
                if output.name == "stderr":
                    output.text = _without_bars(output.text)
                if not output.text:
                    continue
                if outputs and outputs[-1].get("name") == output.name:
                    outputs[-1].text += output.text
                    continue
            for kind, text in output.get("data", {}).items():
                if kind == "text/plain":
                    output.data[kind] = _same_everywhere(text, folder)
            outputs.append(output)
        cell.outputs = outputs


def _without_bars(text: str) -> str:
    """The text without tqdm's progress bars and its wish for widgets, and what Matplotlib says at its first use."""
    lines = [line for line in text.splitlines() if line.strip() and not _NO_MATTER.search(line)]
    return "".join(f"{line}\n" for line in lines)


def _same_everywhere(text: str, folder: Path) -> str:
    """The text without rates, addresses of memory and paths of this machine."""
    text = text.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    text = re.sub(r" \(\d+(?:\.\d+)? a second\)|, in \d+ s \(\d+(?:\.\d+)?x\)", "", text)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _warnings(cell: Any) -> Iterator[str]:
    """The lines that a cell writes to standard error, but for what storyjax itself tells."""
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            yield from (line for line in output.text.splitlines() if line.strip() and not _NOTE.match(line))


def faults(notebook: nbformat.NotebookNode, path: Path) -> list[str]:
    """Returns what is wrong with the outputs of a notebook as it is on disk: none where all is well."""
    found = []
    if notebook.metadata.get("storyjax", {}).get("sources") != source_hash(notebook):
        found.append("the outputs are of other sources")
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        found.append("not every cell was run, once and in order")
    if path.stat().st_size > MAX_BYTES:
        found.append(f"it has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    for number, cell in enumerate(code_cells(notebook), 1):
        found += [f"cell {number} warns: {line}" for line in _warnings(cell)]
        found += [f"cell {number} shows the path {one}" for text in texts(cell) for one in _PATH.findall(text)]
    return found


def texts(cell: Any) -> list[str]:
    """Returns what a cell prints and shows as text, output by output."""
    every = [output.text if "text" in output else output.get("data", {}).get("text/plain") for output in cell.outputs]
    return [text for text in every if text is not None and not text.startswith("<")]


def differences(old: nbformat.NotebookNode, new: nbformat.NotebookNode) -> list[str]:
    """Returns in which cells the outputs differ: in their words, in numbers by much, or in their kinds.

    Args:
        old, new: executed notebooks of the same sources.
    """
    found = []
    for number, (before, after) in enumerate(zip(code_cells(old), code_cells(new), strict=True), 1):
        if VARIES in before.metadata.get("tags", []):
            continue
        if [sorted(each.get("data", {})) for each in before.outputs] != [
            sorted(each.get("data", {})) for each in after.outputs
        ]:
            found.append(f"code cell {number} shows other kinds of outputs")
        lines = [("\n".join(texts(cell))).splitlines() for cell in (before, after)]
        if len(lines[0]) != len(lines[1]):
            found.append(f"code cell {number} prints {len(lines[1])} lines, not {len(lines[0])}")
        for one, other in zip(*lines, strict=False):
            if not _alike(one, other):
                found.append(f"code cell {number} prints '{other}', not '{one}'")
    return found


def _alike(one: str, other: str) -> bool:
    """Whether two lines have the same words, and numbers that are close."""
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(abs(float(a) - float(b)) <= LEAST + TOLERANCE * abs(float(a)) for a, b in pairs)


def set_repository(path: Path, repository: str) -> None:
    """Writes the repository's address on GitHub, OWNER/NAME, into the badge and the first cell of a notebook.

    Raises:
        StoryjaxError: this is no OWNER/NAME, or the notebook names no address.
    """
    if not re.fullmatch(r"[\w-]+/[\w.-]+", repository):
        raise StoryjaxError(f"--repository is '{repository}': give OWNER/NAME, as in the address of its page on GitHub")
    notebook = read(path)
    known = re.search(r"colab\.research\.google\.com/github/([\w-]+/[\w.-]+)/blob/", notebook.cells[0].source)
    if known is None:
        raise StoryjaxError(f"{path} has no badge of Colab in its first cell: copy that of another demo")
    for cell in notebook.cells:
        cell.source = cell.source.replace(known[1], repository)
    if "storyjax" in notebook.metadata:
        notebook.metadata["storyjax"]["sources"] = source_hash(notebook)
    write(notebook, path)


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Writes a notebook, as a whole or not at all."""
    nbformat.validate(notebook)
    write_atomically(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 2 where a notebook fails or differs, in one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="(default: all of demos/)")
    parser.add_argument("--check", action="store_true", help="compares, and writes nothing")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="writes this address instead of running")
    given = parser.parse_args(arguments)
    os.environ.setdefault("STORYJAX_CACHE", "off")
    prepare_runtime()  # which the notebooks' kernels inherit
    notebooks = given.notebooks or sorted(DEMOS.glob("*.ipynb"))

    def act() -> int:
        for path in notebooks:
            if given.repository is not None:
                set_repository(path, given.repository)
                continue
            notebook = read(path)
            done = execute(notebook, path.name)
            if not given.check:
                write(done, path)
            found = faults(notebook, path) + differences(notebook, done) if given.check else faults(done, path)
            if found:
                raise StoryjaxError(
                    f"{path.name}: {'; '.join(found)}: mend it, and run python tools/run_demos.py {path}"
                )
            print(f"{path.name}: {len(code_cells(done))} cells")
        return 0

    return report_errors(act, "interrupted; the notebooks that were named are done")


if __name__ == "__main__":
    sys.exit(main())
