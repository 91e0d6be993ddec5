"""What stands for words and label spaces where programs are planned before a tokenizer's file or a data set is there.

Only their shapes matter to a program: a run asks for its data first, and stops there for want of them.
"""

import numpy as np

from storyjax.tcr.evaluators import ActionDecoder, Actions, Timestamps

# Tokens of "1" to "1000" in T5's vocabulary, at most.
_NUMBER_TOKENS = 4


def planned_stamps(bins: int) -> Timestamps:
    """Returns as many timestamps, of zeros."""
    return Timestamps(np.zeros((bins, _NUMBER_TOKENS), np.int32), np.zeros((bins, bins), np.float32))


def planned_actions(candidates: int, temperature: float, **changed: bool) -> Actions:
    """Returns a label space of one action; `changed` are fields of `Actions`."""
    return Actions(("verb",), ("noun",), candidates, temperature, **changed)


class PlannedDecoder(ActionDecoder):
    """A decoder whose actions may hold any token, and which no token ends."""

    def allowed(self) -> np.ndarray:
        """Returns all tokens (v,)."""
        return np.ones(self.qa.model.llm.config.vocab_size, bool)

    def closing(self) -> np.ndarray:
        """Returns none of the tokens (v,)."""
        return np.zeros(self.qa.model.llm.config.vocab_size, bool)
