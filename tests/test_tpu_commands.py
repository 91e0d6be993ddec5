"""The commands for TPU slices: a shell takes them, and storyjax takes what they run."""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from storyjax.core.config import config_topologies, load_config, override
from storyjax.main import _parse
from storyjax.train.settings import CHAPTER_SECTIONS, complete

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("tpu_commands", ROOT / "tools/tpu_commands.py")
assert _SPEC is not None
assert _SPEC.loader is not None
tpu_commands = importlib.util.module_from_spec(_SPEC)
sys.modules["tpu_commands"] = tpu_commands
_SPEC.loader.exec_module(tpu_commands)

CONFIGS = [
    f"{path.stem}:{variant}"
    for path in sorted((ROOT / "configs").glob("*.py"))
    for variant in config_topologies(path.stem)
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_variant_of_full_size_takes_its_command(config: str) -> None:
    name, variant = config.split(":")
    script = tpu_commands.vm_script(config, config_topologies(name)[variant], "mine", "a-zone", False)
    words = shlex.split(script, comments=True)
    (launch,) = [word for word in words if "storyjax.main" in word]
    arguments = shlex.split(launch.partition("-m storyjax.main")[2].partition(" >> ")[0])
    flags, overrides, _ = _parse(arguments)
    assert flags["workdir"] == f"gs://mine/runs/{name}_{variant}"
    changed = complete(load_config(flags["config"]))
    for key, text in overrides:
        override(changed, key, text, open_sections=CHAPTER_SECTIONS)
    left = [path for _, path in tpu_commands.places(changed.to_dict())]
    assert not left, "what is not in the bucket is on no other host"


def test_what_a_later_stage_starts_from_is_where_the_earlier_one_ran() -> None:
    earlier = tpu_commands.train_command("mqt_coco", "mine")
    later = tpu_commands.train_command("mqt_coco:pairs", "mine")
    assert "--workdir=gs://mine/runs/mqt_coco" in earlier
    assert "--config.init.checkpoint=gs://mine/runs/mqt_coco" in later


def test_the_script_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """With stand-ins for the cloud's own command, which write down what they are given."""
    log = tmp_path / "log"
    (tmp_path / "gcloud").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\ntest "$2" != cp || cat > /dev/null\n')
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "git").write_text("#!/bin/sh\necho archive\n")
    (tmp_path / "git").chmod(0o755)
    (tmp_path / "data/nextqa").mkdir(parents=True)
    script = tpu_commands.vm_script("tcr_nextqa", "v5e:8x8", "mine", "a-zone", True)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=60)
    lines = log.read_text().splitlines()
    assert lines[0] == "storage rsync --recursive data/nextqa gs://mine/data/nextqa"
    assert lines[1].startswith("compute tpus tpu-vm create tcr-nextqa --zone=a-zone --accelerator-type=v5litepod-64 ")
    assert lines[1].endswith("--version=v2-alpha-tpuv5-lite --spot")
    assert lines[2] == "storage cp - gs://mine/storyjax.tar.gz"
    assert "pip install" in lines[3]
    assert lines[4].startswith("compute tpus tpu-vm ssh tcr-nextqa --zone=a-zone --worker=all --command=cd storyjax")


@pytest.mark.parametrize(
    ("topology", "machines", "chips", "label"),
    [
        ("v5e:8x8", 16, 4, "tpu-v5-lite-podslice"),
        ("v4:2x2x2", 2, 4, "tpu-v4-podslice"),
        ("v6e:1x1", 1, 1, "tpu-v6e-slice"),
    ],
)
def test_the_manifest_has_a_pod_for_each_machine(topology: str, machines: int, chips: int, label: str) -> None:
    service, job = yaml.safe_load_all(tpu_commands.gke_manifest("tcr_nextqa", topology, "mine", "x/storyjax"))
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"] == job["metadata"]["name"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == machines
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == label
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    assert pod["containers"][0]["args"] == tpu_commands.train_command("tcr_nextqa", "mine")


def test_a_v4_slice_is_named_by_its_cores() -> None:
    assert "--accelerator-type=v4-32 " in tpu_commands.vm_script("tcr_nextqa", "v4:2x2x4", "mine", "z", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v5e:3x3"], "v5e has 1x1"),
        (["--topology=v9:1"], "the names of v4"),
        (["--config=tcr_nextqa:embedded"], "names no TPU slice"),
        (["--config=nothing"], "nothing"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, monkeypatch, capsys) -> None:
    words = ["tpu_commands", "--config=tcr_nextqa", "--bucket=mine", *arguments]
    monkeypatch.setattr(sys, "argv", words)
    assert tpu_commands.main() == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
