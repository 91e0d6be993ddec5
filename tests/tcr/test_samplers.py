"""What may read the frames of a task without a language model (config.data.sampler)."""

import pytest
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.tcr.heads.experiment import build


@pytest.mark.parametrize(
    ("task", "sampler", "allowed"),
    [
        ("selection", "attention", "'tcr' or 'random'"),
        *((task, name, "'tcr'") for task in ("counting", "moments", "queries") for name in ("random", "attention")),
    ],
)
def test_a_sampler_that_a_task_does_not_have_is_refused(task: str, sampler: str, allowed: str) -> None:
    """Before there is any model or data."""
    config = ConfigDict({"data": {"task": task, "root": "nowhere", "sampler": sampler}})
    with pytest.raises(StoryjaxError, match=f"config.data.sampler: '{sampler}' cannot do {task}; give {allowed}$"):
        build(config)
