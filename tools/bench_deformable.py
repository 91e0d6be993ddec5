"""Multi-scale deformable attention: its time compared with PyTorch's, and its memory on a TPU.

    python tools/bench_deformable.py              # against `transformers`' PyTorch reference, on the CPU
    python tools/bench_deformable.py --tpu        # compiled ahead of time for v5e: temporaries and bytes, no reference
    python tools/bench_deformable.py --gpu        # on an accelerator: absolute times, PyTorch's too where it sees one

One layer of Deformable DETR's encoder: all tokens of the pyramid of an 800 × 1066 image (strides 8 to 64) attend to
four points of each of four levels, with 8 heads of width 32. Locations are each token's own plus normal noise of two
pixels of the level. Ours and theirs run in turns in one process; a ratio is theirs / ours of the medians: above 1 is
faster. Forward is without gradients; backward is with respect to values, locations and weights.

The bytes that XLA counts for a TPU count a loop's body once; beside them stand the bytes with loops counted as often as
they run (storyjax/plan/hlo_cost.py).
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

HEADS, WIDTH, POINTS = 8, 32, 4
STRIDES = (8, 16, 32, 64)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[800, 1066], help="of the image: height and width")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tpu", action="store_true", help="compiles for a TPU instead; needs storyjax[plan]")
    parser.add_argument("--topology", default="v5e:1x1")
    parser.add_argument("--gpu", action="store_true", help="measures on the accelerator instead")
    parser.add_argument("--json", metavar="FILE", help="where to write the numbers")
    return parser.parse_args(argv)


def pyramid(size: list[int]) -> tuple[tuple[int, int], ...]:
    """Returns (height, width) of the levels."""
    return tuple((math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in STRIDES)


def inputs(shapes: tuple[tuple[int, int], ...]) -> tuple[Any, Any, Any]:
    """Returns values, locations and weights of one image, float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    tokens, levels = sum(y * x for y, x in shapes), len(shapes)
    grids = [np.stack(np.meshgrid((np.arange(x) + 0.5) / x, (np.arange(y) + 0.5) / y), -1) for y, x in shapes]
    centres = np.concatenate([grid.reshape(-1, 2) for grid in grids])
    offsets = (
        2 * rng.normal(size=(1, tokens, HEADS, levels, POINTS, 2)) / np.array([[x, y] for y, x in shapes])[:, None]
    )
    weights = rng.exponential(size=(1, tokens, HEADS, levels * POINTS))
    weights = (weights / weights.sum(-1, keepdims=True)).reshape(1, tokens, HEADS, levels, POINTS)
    values = rng.normal(size=(1, tokens, HEADS, WIDTH))
    locations = centres[None, :, None, None, None] + offsets
    return tuple(array.astype(np.float32) for array in (values, locations, weights))


def ours(shapes: tuple[tuple[int, int], ...]) -> dict[str, Callable[..., Any]]:
    """Returns the functions "forward" and "forward + backward", not compiled."""
    import jax

    from storyjax.nn.deformable_attention import deformable_attention

    def forward(*arrays: Any) -> Any:
        return deformable_attention(*arrays, shapes)

    def both(*arrays: Any) -> Any:
        out, pull = jax.vjp(forward, *arrays)
        return out, pull(out)

    return {"forward": forward, "forward + backward": both}


def theirs(shapes: tuple[tuple[int, int], ...], arrays: tuple[Any, ...], device: str) -> dict[str, Callable[[], Any]]:
    """Returns those of the PyTorch reference, with their arguments bound."""
    import torch
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    reference, tensors = MultiScaleDeformableAttention(), [torch.from_numpy(array).to(device) for array in arrays]
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def run(values: Any, locations: Any, weights: Any) -> Any:
        return reference(values, None, list(shapes), None, locations, weights, 64)

    def forward() -> Any:
        with torch.no_grad():
            out = run(*tensors)
        wait()
        return out

    def both() -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        out = run(*leaves)
        out.backward(out.detach())
        wait()
        return out

    return {"forward": forward, "forward + backward": both}


def seconds(function: Callable[[], Any]) -> float:
    """Returns how long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns median seconds of both, by pass."""
    import jax
    import numpy as np
    import torch

    torch.set_num_threads(arguments.threads)
    shapes = pyramid(arguments.size)
    arrays = inputs(shapes)
    device = "cuda" if arguments.gpu and torch.cuda.is_available() else "cpu"
    reference = theirs(shapes, arrays, device) if device == "cuda" or not arguments.gpu else {}
    placed = jax.device_put(arrays)
    rows: dict[str, Any] = {}
    for name, function in ours(shapes).items():
        compiled = jax.jit(function)
        out = jax.block_until_ready(compiled(*placed))
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        if name in reference:
            first = np.asarray(out if name == "forward" else out[0])
            difference = float(np.abs(first - reference[name]().detach().cpu().numpy()).max())
            if difference > 1e-4:
                raise SystemExit(f"ours and theirs differ by {difference}")
        for _ in range(arguments.repeats):
            times["ours"].append(seconds(lambda run=compiled: jax.block_until_ready(run(*placed))))
            if name in reference:
                times["theirs"].append(seconds(reference[name]))
        rows[name] = {who: statistics.median(each) for who, each in times.items() if each}
    return {"device": jax.devices()[0].device_kind, "tokens": sum(y * x for y, x in shapes), "rows": rows}


def plan(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns memory and bytes of the programs on a TPU, which need not be present; values in bfloat16."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    from storyjax.plan.hlo_cost import program_cost
    from storyjax.plan.tpu import find_slice

    found = find_slice(arguments.topology)
    sharding = SingleDeviceSharding(found.devices[0])
    shapes = pyramid(arguments.size)
    arrays = inputs(shapes)
    kinds = (jnp.bfloat16, jnp.float32, jnp.float32)
    abstract = [
        jax.ShapeDtypeStruct(array.shape, kind, sharding=sharding) for array, kind in zip(arrays, kinds, strict=True)
    ]
    rows: dict[str, Any] = {}
    for name, function in ours(shapes).items():
        compiled = jax.jit(function).lower(*abstract).compile()
        cost = compiled.cost_analysis()
        cost = cost[0] if isinstance(cost, list) else cost
        rows[name] = {
            "temporaries": compiled.memory_analysis().temp_size_in_bytes,
            "bytes, loops once": int(cost["bytes accessed"]),
            "bytes, all of a loop": int(program_cost(compiled.as_text()).bytes),
        }
    return {"device": f"{found.name}, libtpu {found.compiler}", "tokens": sum(y * x for y, x in shapes), "rows": rows}


def table(numbers: dict[str, Any]) -> str:
    """Returns the numbers as text."""
    lines = [f"{numbers['tokens']} queries, {numbers['device']}", ""]
    for name, row in numbers["rows"].items():
        if "temporaries" in row:
            parts = [f"{key} {value / 1e9:.3f} GB" for key, value in row.items()]
        else:
            parts = [f"{who} {value * 1e3:.0f} ms" for who, value in row.items()]
            if "theirs" in row:
                parts.append(f"theirs / ours {row['theirs'] / row['ours']:.2f}")
        lines.append(f"{name:20} {', '.join(parts)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Prints what the command line asks for."""
    arguments = parse(argv)
    if not arguments.gpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    numbers = plan(arguments) if arguments.tpu else compare(arguments)
    print(table(numbers))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(numbers, file, indent=2)


if __name__ == "__main__":
    main()
