"""dml: Zhang et al., "Deep Mutual Learning", CVPR 2018, arXiv 1706.00384.

    L_k = CE(z_k, y) + 1 / (M - 1) sum_{l != k} T^2 KL(p_l || p_k),   p_l a constant,   k = 1..M

T is 1 in the paper. `synchronous`: one forward of every network, then an update of each. `sequential`, the algorithm of the
paper as recalled: each is updated in turn against the current logits of the others. The first network is the model.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from robustkd.criteria.base import Criterion
from robustkd.functional import kl
from robustkd.method import Method
from robustkd.models.net import Network
from robustkd.types import AtLeastTwo, Batch, Objective, Positive


class DML(Method):
    """Students of one architecture and different initial weights, each trained on the labels and on the others."""

    def __init__(
        self,
        students: Callable[[int], list[Network]],
        criterion: Callable[[], Criterion],
        *,
        networks: AtLeastTwo = 2,
        temperature: Positive = 1.0,
        order: Literal["synchronous", "sequential"] = "synchronous",
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students(networks))
        self.criteria = nn.ModuleList(criterion() for _ in self.students)
        self.model = self.students[0]  # type: ignore[assignment]  # ModuleList does not keep the element type
        self.temperature, self.order = temperature, order

    def step(self, batch: Batch) -> Iterator[Objective]:
        if self.order == "synchronous":
            logits = [student(batch.images).logits for student in self.students]
            for k in range(len(logits)):
                yield self.network_objective(k, logits, batch)
            return
        for k, student in enumerate(self.students):
            logits = []
            for peer in self.students:
                with torch.set_grad_enabled(peer is student):
                    logits.append(peer(batch.images).logits)
            yield self.network_objective(k, logits, batch)

    def network_objective(self, k: int, logits: Sequence[Tensor], batch: Batch) -> Objective:
        """Return the loss of network k, with its peers as constants."""
        T = self.temperature
        peers = [z.detach() for l, z in enumerate(logits) if l != k]
        mimicry = torch.stack([T**2 * kl(peer, logits[k], T) for peer in peers]).mean()
        return Objective({f"ce/{k + 1}": self.criteria[k](logits[k], batch).mean(), f"kl/{k + 1}": mimicry})
