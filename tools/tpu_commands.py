"""Prints the commands that run a config on a Cloud TPU slice, as a shell script or a Kubernetes manifest.

    python tools/tpu_commands.py --config=tcr_nextqa --bucket=MINE --zone=us-west4-a
    python tools/tpu_commands.py --config=mqt_coco:pairs --bucket=MINE --zone=us-west4-a --topology=v5e:8x8 --spot
    python tools/tpu_commands.py --config=tcr_nextqa --bucket=MINE --how=gke --image=REGISTRY/storyjax
    python tools/tpu_commands.py --config=tcr_nextqa --bucket=MINE --how=slurm --nodes=4

Nothing is run. docs/tpu.md explains each step. Data, weights and runs are where the config says, in the bucket instead
of the working folder: gs://MINE/data/nextqa for data/nextqa. Names of accelerators and of their software are those of
https://cloud.google.com/tpu/docs/runtimes and https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus, read
in November 2026.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storyjax.core.config import config_topologies, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.plan.tpu import CHIPS

# Keys of configs that name a place; those of None or of what ships stay as they are.
PLACES = ("root", "cache_dir", "weights", "checkpoint", "features", "detections_dir")


@dataclass(frozen=True)
class Cloud:
    """What Google Cloud calls a generation of TPUs.

    Attributes:
        accelerator: of an accelerator type: "v5litepod" of v5litepod-16.
        counted: how many a chip counts for in it.
        software: of TPU VMs.
        machine, label: of GKE's machines, with four chips each, and of its node selector.
    """

    accelerator: str
    counted: int
    software: str
    machine: str
    label: str


CLOUD = {
    "v4": Cloud("v4", 2, "tpu-ubuntu2204-base", "ct4p-hightpu-4t", "tpu-v4-podslice"),
    "v5e": Cloud("v5litepod", 1, "v2-alpha-tpuv5-lite", "ct5lp-hightpu-4t", "tpu-v5-lite-podslice"),
    "v5p": Cloud("v5p", 2, "v2-alpha-tpuv5", "ct5p-hightpu-4t", "tpu-v5p-slice"),
    "v6e": Cloud("v6e", 1, "v2-alpha-tpuv6e", "ct6e-standard-4t", "tpu-v6e-slice"),
}
CHIPS_OF_A_NODE = 4
PREPARED = "data/prepared"  # what config.data.cache_dir is where a config leaves it out


def places(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields (dotted key, path) for every relative path that a config names, and for where prepared records go."""
    if "root" in tree:
        tree = {"cache_dir": PREPARED, **tree}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key in PLACES:
            named = (
                {f"{name}.{one}": each for one, each in value.items()} if isinstance(value, Mapping) else {name: value}
            )
            yield from ((one, each) for one, each in named.items() if _is_place(each))
        elif isinstance(value, Mapping):
            yield from places(value, f"{name}.")


def _is_place(value: object) -> bool:
    return isinstance(value, str) and not value.startswith("/") and ":" not in value


def train_command(config: str, bucket: str) -> list[str]:
    """Returns the words of the command that every host is given."""
    name = config.removesuffix(".py").replace(":", "_")
    moved = [f"--config.{key}=gs://{bucket}/{path}" for key, path in places(load_config(config).to_dict())]
    run = ["-m", "storyjax.main", f"--config={config}", f"--workdir=gs://{bucket}/runs/{name}"]
    return [*run, *moved, "--progress=false"]


def slice_of(topology: str) -> tuple[Cloud, int]:
    """Returns what the cloud calls the slice's chips, and how many it has.

    Raises:
        StoryjaxError: there is no such slice, or this page does not know its names.
    """
    generation, _, shape = topology.partition(":")
    if generation not in CLOUD:
        raise StoryjaxError(f"--topology={topology}: the names of {', '.join(CLOUD)} are known here")
    if shape not in CHIPS[generation].slices:
        raise StoryjaxError(f"--topology={topology}: {generation} has {', '.join(CHIPS[generation].slices)}")
    return CLOUD[generation], math.prod(map(int, shape.split("x")))


def vm_script(config: str, topology: str, bucket: str, zone: str, spot: bool) -> str:
    """Returns the script for TPU VMs."""
    cloud, chips = slice_of(topology)
    data = sorted({path for _, path in places(load_config(config).to_dict()) if path.startswith(("data/", "weights/"))})
    copies = "\n".join(
        f'if [ -d {path} ]; then gcloud storage rsync --recursive {path} "gs://$BUCKET/{path}"; fi' for path in data
    )
    train = shlex.join([".venv/bin/python", *train_command(config, bucket)])
    install = (
        "gcloud storage cat gs://$BUCKET/storyjax.tar.gz | tar xz && curl -LsSf https://astral.sh/uv/install.sh | sh &&"
        " cd storyjax && ~/.local/bin/uv venv -q --python 3.11 .venv &&"
        " ~/.local/bin/uv pip install -q -p .venv '.[tpu,gcs]'"
    )
    return f"""\
#!/usr/bin/env bash
# {config} on {topology}: {chips} chips, an accelerator of type {cloud.accelerator}-{chips * cloud.counted}.
set -euo pipefail
NAME={shlex.quote(config.replace(":", "-").replace("_", "-"))} ZONE={shlex.quote(zone)} BUCKET={shlex.quote(bucket)}
on_all() {{ gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"; }}

# 1. Data and weights that are here go to the bucket; what is there already stays.
{copies or "# The config reads none."}

# 2. The machines. Where there are none, a queued resource waits for them: docs/tpu.md.
gcloud compute tpus tpu-vm create "$NAME" --zone="$ZONE" \\
  --accelerator-type={cloud.accelerator}-{chips * cloud.counted} --version={cloud.software}{" --spot" * spot}

# 3. storyjax on each of them: this checkout's last commit. Their own Python is older than 3.11, so uv brings one.
git archive --format=tar.gz --prefix=storyjax/ HEAD | gcloud storage cp - "gs://$BUCKET/storyjax.tar.gz"
on_all "{install}"

# 4. The same command on all, which find each other. Given again, it goes on from the latest checkpoint.
on_all "cd storyjax && nohup {train} >> train.log 2>&1 &"

# 5. To look: tensorboard --logdir "gs://$BUCKET/runs"; and what the first machine says:
#    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=0 --command="tail -f storyjax/train.log"
# 6. To end: gcloud compute tpus tpu-vm delete "$NAME" --zone="$ZONE"
"""


def gke_manifest(config: str, topology: str, bucket: str, image: str) -> str:
    """Returns a Kubernetes manifest: a Job with a pod on each machine of the slice, and the Service that names them."""
    cloud, chips = slice_of(topology)
    name = config.replace(":", "-").replace("_", "-")
    per_node = min(CHIPS_OF_A_NODE, chips)
    words = "\n".join(f"            - {_quoted(word)}" for word in train_command(config, bucket))
    return f"""\
# {config} on {topology}: {chips // per_node} machines of type {cloud.machine}. kubectl apply -f THIS
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: None, selector: {{job-name: {name}}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  completionMode: Indexed
  completions: {chips // per_node}
  parallelism: {chips // per_node}
  backoffLimit: 100  # a machine that is taken away ends all; the run goes on from its latest checkpoint
  template:
    spec:
      subdomain: {name}
      restartPolicy: Never
      serviceAccountName: storyjax  # with rights to the bucket, by Workload Identity
      terminationGracePeriodSeconds: 120  # to save the state
      nodeSelector:
        cloud.google.com/gke-tpu-accelerator: {cloud.label}
        cloud.google.com/gke-tpu-topology: {topology.partition(":")[2]}
      containers:
        - name: train
          image: {image}
          args:
{words}
          resources:
            requests: {{google.com/tpu: {per_node}}}
            limits: {{google.com/tpu: {per_node}}}
"""


def _quoted(word: str) -> str:
    """A word as a YAML string."""
    return "'" + word.replace("'", "''") + "'"


def slurm_script(config: str, bucket: str, nodes: int) -> str:
    """Returns a batch script for Slurm: one process on each node, with all its GPUs."""
    train = shlex.join([".venv/bin/python", *train_command(config, bucket)])
    return f"""\
#!/usr/bin/env bash
# {config} on {nodes} nodes with GPUs: sbatch THIS, in a checkout with .venv (pip install '.[cuda,gcs]').
#SBATCH --job-name={config}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
set -euo pipefail
exec srun {train}
"""


def main() -> int:
    """Prints what the command line asks for; returns 0, or 2 after an error of one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="NAME[:VARIANT]", help="a config of full size")
    parser.add_argument("--bucket", required=True, metavar="NAME", help="without gs://")
    parser.add_argument("--topology", metavar="NAME", help="a slice such as v5e:4x8 (default: the config's)")
    parser.add_argument("--how", choices=("vm", "gke", "slurm"), default="vm", help="(default: vm)")
    parser.add_argument("--zone", default="us-west4-a", help="of TPU VMs (default: us-west4-a)")
    parser.add_argument("--spot", action="store_true", help="cheaper machines that may be taken away at any time")
    parser.add_argument("--image", default="storyjax", help="of gke: the container, built by tools/Dockerfile")
    parser.add_argument("--nodes", type=int, default=4, help="of slurm (default: 4)")
    given = parser.parse_args()
    try:
        variant = given.config.partition(":")[2] or "paper"
        topology = given.topology or config_topologies(given.config).get(variant)
        if topology is None and given.how != "slurm":
            raise StoryjaxError(f"{given.config} names no TPU slice: give one, --topology=v5e:2x2")
        if given.how == "vm":
            print(vm_script(given.config, topology, given.bucket, given.zone, given.spot), end="")
        elif given.how == "gke":
            print(gke_manifest(given.config, topology, given.bucket, given.image), end="")
        else:
            print(slurm_script(given.config, given.bucket, given.nodes), end="")
    except StoryjaxError as error:
        print(f"tpu_commands: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
