"""What the workers of a training do together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def freeze_unused(network: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Let nothing learn that the loss does not depend on, such as a second head whose output is not used.

    Workers that learn together wait for the gradient of every weight, and one that never comes is an error at
    the second step.

    Args:
        loss: of any input; the network is called once with it.
    """
    was_training = network.training
    network.eval()  # so that running means stay as they are
    with torch.random.fork_rng(devices=[]):
        loss().backward()  # type: ignore[no-untyped-call]
    for weight in network.parameters():
        weight.requires_grad_(weight.requires_grad and weight.grad is not None)
        weight.grad = None
    network.train(was_training)


def summed(counts: Any, device: torch.device) -> Any:
    """The sum of an array over all workers."""
    if not torch.distributed.is_initialized():
        return counts
    total: Tensor = torch.from_numpy(counts).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()


def gathered(own: list[T]) -> list[T]:
    """What all workers have, one after another."""
    if not torch.distributed.is_initialized():
        return own
    found: list[list[T]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(found, own)
    return [each for some in found for each in some]


def of_the_first(own: T) -> T:
    """What the first worker has, for all."""
    if not torch.distributed.is_initialized():
        return own
    told = [own]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]
