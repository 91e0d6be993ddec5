"""PyTorch reference models, small and with random weights, and the comparison with them."""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

# Models this small gain nothing from a second thread, and lose much where other tests keep the cores busy.
torch.set_num_threads(1)

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for references.py


@pytest.fixture
def randomised() -> Callable[..., torch.nn.Module]:
    """Fills a model with random weights: biases, norms and embeddings too, which start as constants or tiny."""

    def fill(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                norm_scale = name.endswith("norm.weight") or (".layer_norm" in name and name.endswith("weight"))
                if norm_scale:
                    parameter.copy_(1 + 0.2 * noise)
                else:
                    fan_in = parameter.shape[-1] if parameter.ndim == 2 else 16
                    parameter.copy_(noise * fan_in**-0.5)
        return model.eval()

    return fill


@pytest.fixture
def agree() -> Callable[..., None]:
    """Asserts that an array of ours and a tensor of the reference differ by less than a tolerance anywhere."""

    def check(ours: object, theirs: torch.Tensor, tolerance: float) -> None:
        theirs = theirs.detach().numpy()
        ours = np.asarray(ours)
        assert ours.shape == theirs.shape
        # A comparison of zeros would prove nothing.
        assert np.abs(theirs).max() > 0.1
        assert np.abs(ours - theirs).max() < tolerance

    return check


@pytest.fixture
def arrays() -> Callable[[torch.nn.Module], dict[str, np.ndarray]]:
    """The state of a model as NumPy arrays; those of a model on the meta device are zeros that take no memory."""

    def state(model: torch.nn.Module) -> dict[str, np.ndarray]:
        return {
            name: np.broadcast_to(np.float32(0), tuple(tensor.shape)) if tensor.is_meta else tensor.detach().numpy()
            for name, tensor in model.state_dict().items()
        }

    return state
