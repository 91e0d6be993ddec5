"""What a process sets up before JAX: the cache of compiled programs, and no search for a TPU that is not there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storyjax.core import runtime

CHILD = "from storyjax.core.runtime import prepare_runtime; prepare_runtime(); import jax, jax.numpy as jnp; "
CHILD += "print(jax.jit(lambda x: jnp.sort(x @ x).sum())(jnp.ones((64, 64))))"


def child(**environment: str) -> subprocess.CompletedProcess[str]:
    """A new process that prepares itself and compiles a program."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "STORYJAX_"))}
    inherited |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **environment}
    return subprocess.run([sys.executable, "-c", CHILD], env=inherited, capture_output=True, text=True, check=True)


def test_programs_are_kept_in_the_chosen_folder(tmp_path: Path) -> None:
    first = child(STORYJAX_CACHE=str(tmp_path / "cache"))
    kept = sorted((tmp_path / "cache" / "programs").glob("*-cache"))
    assert kept
    assert child(STORYJAX_CACHE=str(tmp_path / "cache")).stdout == first.stdout
    assert sorted((tmp_path / "cache" / "programs").glob("*-cache")) == kept


def test_the_cache_is_in_the_users_cache_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_folder() == tmp_path / "storyjax" / "programs"
    monkeypatch.setenv(runtime.CACHE, "off")
    assert runtime.cache_folder() is None


@pytest.mark.parametrize("place", ["file", "full"])
def test_without_a_folder_to_write_to_it_goes_on_and_says_so_once(place: str, tmp_path: Path) -> None:
    """(Root may write to a read-only folder, so a file stands where the folder should be, or nothing can.)"""
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" if place == "file" else Path("/proc/self")
    done = child(STORYJAX_CACHE=str(where))
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("storyjax: note: compiled programs are not kept: ")
    assert str(where) in lines[0]


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None or runtime.has_tpu(), reason="libtpu without a TPU")
def test_no_tpu_is_looked_for_where_there_is_none() -> None:
    done = child(STORYJAX_CACHE="off")
    assert done.stderr == ""


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere/else")
    monkeypatch.setenv(runtime.CACHE, str(tmp_path))
    runtime.prepare_runtime()
    assert os.environ["JAX_PLATFORMS"] == "cuda"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/somewhere/else"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(runtime.has_tpu(), reason="there is a TPU")
def test_a_platform_that_is_not_there_is_one_line() -> None:
    program = "import sys, jax; from storyjax.core.runtime import prepare_runtime\n"
    program += "from storyjax.main import leave, report_errors\n"
    program += "def act(): prepare_runtime(); jax.devices(); return 0\nleave(report_errors(act, ''))"
    for platform in ("tpu", "nonsense"):
        environment = {**os.environ, "JAX_PLATFORMS": platform, "STORYJAX_CACHE": "off"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith(f"storyjax: error: JAX_PLATFORMS={platform} asks for devices"), done.stderr
        assert done.stderr.count("\n") == 1


def test_a_full_disk_under_standard_output_is_one_line() -> None:
    program = (
        "from storyjax.main import leave, report_errors\ndef act(): print('x'); return 0\nleave(report_errors(act, ''))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "storyjax: error: No space left on device: standard output\n")
