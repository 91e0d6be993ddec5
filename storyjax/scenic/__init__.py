"""storyjax under Google's Scenic: its launcher, flags and writer around storyjax's experiments. See README.md here.

Scenic is source only: a checkout on PYTHONPATH. (PyPI's `scenic` is another program.) Nothing outside of this folder
imports it, TensorFlow or CLU.
"""

import importlib.util
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell

# What this was tried with; another commit is used all the same, and named.
COMMIT = "4a38d475ee89cb821078c0e2bf2065ee030e1535"
CLONE = "git clone https://github.com/google-research/scenic, and put its folder on PYTHONPATH"
NEEDED = ("clu", "tensorflow", "immutabledict")


def require() -> Path:
    """Returns the folder of Scenic's checkout, which is found without importing it.

    Raises:
        StoryjaxError: there is none, another package has its name, or what it needs is not installed.
    """
    found = importlib.util.find_spec("scenic")
    if found is None or not found.submodule_search_locations:
        raise StoryjaxError(f"Scenic is not there: {CLONE}")
    folder = Path(next(iter(found.submodule_search_locations)))
    if not (folder / "app.py").is_file() or not (folder / "train_lib").is_dir():
        raise StoryjaxError(
            f"{folder} is another program of the name 'scenic', such as PyPI's: pip uninstall scenic; {CLONE}"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise StoryjaxError(f"Scenic needs {', '.join(missing)}: pip install 'storyjax[scenic]'")
    commit = _commit(folder.parent / ".git")
    if commit not in (None, COMMIT):
        tell(f"Scenic's checkout is at {commit}; storyjax was tried with {COMMIT}", (str(folder), "commit"))
    return folder


def _commit(git: Path) -> str | None:
    """The commit of a checkout, or None where it does not say."""
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text("utf-8").strip()
        packed = (git / "packed-refs").read_text("utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, ValueError):
        return None
