"""A run in a bucket, with no disk of its own: as on a local one, and when the store refuses."""

import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import toy
from cloud_storage import BUCKET, CloudStorage, cloud_storage

from storyjax.core import bucket_lock as locks
from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import exclusive_lock
from storyjax.core.params_io import flatten, weights_folder
from storyjax.train.checkpoint import load_trainable
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run
from storyjax.train.workdir import storage_errors
from storyjax.weights import export_run

FOLDER = pathlib.Path(__file__).parent
TIMES = ("units_per_second", "steps_per_second", "wait_share", "host_memory_gib")


@pytest.fixture(scope="module")
def cloud(compile_once):
    with cloud_storage() as found:
        yield found


def run_toy(workdir: str | pathlib.Path, mode: str = "train") -> dict[str, float]:
    config = toy.get_config("embedded")
    config.log.tensorboard = True
    return run(config, workdir, mode, experiment=toy.experiment(), progress=False)


@pytest.fixture(scope="module")
def unbroken(cloud, tmp_path_factory) -> tuple[pathlib.Path, dict[str, float]]:
    """A run on a disk that nothing happened to, and its results."""
    workdir = tmp_path_factory.mktemp("unbroken")
    return workdir, run_toy(workdir)


def test_a_run_in_a_bucket_that_is_killed_ends_bit_for_bit_as_one_on_a_disk(cloud: CloudStorage, unbroken) -> None:
    workdir = place(f"gs://{BUCKET}/run")
    command = [sys.executable, str(FOLDER / "toy_main.py"), "kill-step", f"--config={FOLDER / 'toy.py'}:embedded"]
    killed = subprocess.run([*command, f"--workdir={workdir}"], capture_output=True, text=True, timeout=600)
    assert killed.returncode == -9, killed.stderr
    assert (workdir / ".lock").exists()  # of a process that is gone, and is taken over
    assert {line["step"] for line in read_metrics(workdir / "metrics.jsonl")} <= {1, 2, 3, 4}
    assert run_toy(str(workdir)) == unbroken[1]
    there, expected = load_trainable(workdir), load_trainable(unbroken[0])
    for path, array in expected.items():
        np.testing.assert_array_equal(there[path], array, err_msg=path)
    lines, expected_lines = (read_metrics(folder / "metrics.jsonl") for folder in (workdir, unbroken[0]))
    assert [{k: v for k, v in line.items() if k not in TIMES} for line in lines] == [
        {k: v for k, v in line.items() if k not in TIMES} for line in expected_lines
    ]
    assert json.loads((workdir / "results.json").read_text()) == unbroken[1]
    assert list(workdir.glob("events*"))
    assert not (workdir / ".lock").exists()
    # And it is evaluated, another run starts from it, and it is exported and loaded from there.
    assert run_toy(workdir, "eval") == unbroken[1]
    config = toy.config(init={"checkpoint": str(workdir)})
    student = flatten(toy.load_params(config, place(f"gs://{BUCKET}/other")))
    for path, array in expected.items():
        np.testing.assert_array_equal(student[path], array, err_msg=path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_run, "build_experiment", lambda config: toy.experiment())
        export_run.export_run(str(workdir), "safetensors", f"gs://{BUCKET}/export")
        with pytest.raises(StoryjaxError, match="is there already"):
            export_run.export_run(str(workdir), "safetensors", f"gs://{BUCKET}/export")
    exported = load_trainable(f"gs://{BUCKET}/export")
    for path, array in expected.items():
        np.testing.assert_array_equal(exported[path], array, err_msg=path)
    folder = weights_folder(f"gs://{BUCKET}/export")
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    asked = len(cloud.asked)
    assert weights_folder(f"gs://{BUCKET}/export") == folder
    assert not [line for line in cloud.asked[asked:] if "alt=media" in line]  # nothing is fetched twice


def test_errors_of_the_store_are_one_line_and_damage_nothing(cloud: CloudStorage, unbroken) -> None:
    with pytest.raises(StoryjaxError, match="cannot write the run in gs://nobucket/run: there is no such bucket"):
        run_toy("gs://nobucket/run")
    workdir = f"gs://{BUCKET}/refused"
    cloud.refuse("POST", "refused/", 403, "no right to storage.objects.create", times=1)
    cloud.refuse("POST", "upload", 403, "no right to storage.objects.create", times=1)
    with pytest.raises(StoryjaxError, match=r"the store refuses access.*choose another --workdir") as refused:
        run_toy(workdir)
    assert "\n" not in str(refused.value)
    cloud.refusals.clear()
    cloud.refuse("POST", "refused/checkpoints/4/optimizer", 403, "The quota of the project is used up")
    with pytest.raises(StoryjaxError, match=r"cannot write the run in .*quota"):
        run_toy(workdir)
    cloud.refusals.clear()
    cloud.refuse("POST", "upload.*", 503, times=1)
    cloud.refuse("GET", "refused/checkpoints", 503, times=1)
    assert run_toy(workdir) == unbroken[1]  # it goes on, and asks again where the store is busy
    assert not any(each[4] for each in cloud.refusals)


def test_errors_of_other_things_are_not_taken_for_errors_of_the_workdir() -> None:
    workdir = place(f"gs://{BUCKET}/run")
    for error in (
        RuntimeError("UNAVAILABLE: the coordination service lost a task"),
        PermissionError(13, "the store refuses access", f"gs://{BUCKET}/data/world"),
        FileNotFoundError(2, "No such file or directory", "configs/none.py"),
    ):
        with pytest.raises(type(error)), storage_errors(workdir):
            raise error
    with pytest.raises(StoryjaxError, match="the store does not answer"), storage_errors(workdir):
        raise ValueError(f"Error writing gs://{BUCKET}/run/checkpoints/2: UNAVAILABLE")


def test_the_lock_of_a_bucket_ends_with_its_process_or_when_it_is_stale(cloud: CloudStorage, monkeypatch) -> None:
    path = place(f"gs://{BUCKET}/locked/.lock")
    with exclusive_lock(path, "another one trains"):
        held = json.loads(path.read_bytes())
        with (
            pytest.raises(StoryjaxError, match=r"another one trains \(.*ends within [89]\d s\)"),
            exclusive_lock(path, "another one trains"),
        ):
            pass
        assert json.loads(path.read_bytes()) == held
    assert not path.exists()
    for gone in ({**held, "process": 2**22 + 1}, {}):
        path.write_bytes(json.dumps(gone).encode())
        if not gone:  # nobody knows whose it is, and it is not old enough yet
            with pytest.raises(StoryjaxError), exclusive_lock(path, "another one trains"):
                pass
            monkeypatch.setattr(locks, "STALE_S", 0.0)
        with exclusive_lock(path, "another one trains"):
            assert json.loads(path.read_bytes())["id"] not in (held["id"], gone.get("id"))
    assert not path.parent.exists()


def test_a_lock_that_another_process_took_over_is_noticed_and_left_alone(cloud: CloudStorage, monkeypatch) -> None:
    path = place(f"gs://{BUCKET}/taken/.lock")
    monkeypatch.setattr(locks, "REFRESH_S", 0.01)

    def lose() -> None:
        with exclusive_lock(path, "another one trains"):
            path.write_bytes(b'{"id": "other"}')
            deadline = time.monotonic() + 10
            while any(each.name == "bucket lock" for each in threading.enumerate()) and time.monotonic() < deadline:
                time.sleep(0.01)

    with pytest.raises(StoryjaxError, match="has taken over"):
        lose()
    assert path.read_bytes() == b'{"id": "other"}'


def test_a_lock_that_is_held_is_written_anew(cloud: CloudStorage, monkeypatch) -> None:
    path = place(f"gs://{BUCKET}/kept/.lock")
    monkeypatch.setattr(locks, "REFRESH_S", 0.01)
    with exclusive_lock(path, "another one trains"):
        first, deadline = path.info()["generation"], time.monotonic() + 10
        while path.info()["generation"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not path.exists()
