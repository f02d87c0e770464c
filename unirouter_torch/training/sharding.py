"""Workers that share out the weights of an encoder, their gradients and their optimizer state."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from unirouter_torch.encoder.trainable import TrainableEncoder
from unirouter_torch.training.device_group import DeviceGroup


class ShardedStrategy(DDPStrategy):
    """DDP for the head, ``fully_shard`` for the encoder: each worker holds its part of every weight.

    A layer's weights are gathered when it is passed through, forth and back, and given away after it; its gradients
    are averaged over the workers as DDP does. Checkpoints are those of DDP, whatever the number of workers.
    """

    def model_to_device(self) -> None:
        """Shard the encoder layer by layer, so that no device ever holds the whole of it, and move the rest."""
        assert self.lightning_module is not None
        for module in self.lightning_module.modules():
            if isinstance(module, TrainableEncoder):
                self._shard(module)
        super().model_to_device()

    def _shard(self, encoder: TrainableEncoder) -> None:
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        policy = MixedPrecisionPolicy()
        if isinstance(self.precision_plugin, MixedPrecision):
            # the layers are under autocast, which casts what enters them
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        for part in encoder.units():
            fully_shard(part, mesh=mesh, mp_policy=policy)
        encoder.agree_on_passes = DeviceGroup.current().most

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        sharded = [name for name, value in model.named_parameters() if isinstance(value, DTensor)]
        ignore: Callable[..., None] = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        ignore(model, sharded)
        return super()._setup_model(model)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Let the first worker write whole tensors."""
        super().save_checkpoint(apply_to_collection(checkpoint, DTensor, whole), filepath, storage_options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this worker's parts of the optimizer state; the weights were read before they were shared out."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for number, tensors in state["state"].items():
                state["state"][number] = {
                    name: part_like(tensor, parameters[number]) for name, tensor in tensors.items()
                }
        super().load_optimizer_state_dict(checkpoint)


def whole(tensor: DTensor) -> Tensor:
    """A tensor gathered from all workers, in the main memory of the first one, and empty at the others."""
    gathered = tensor.full_tensor()
    return gathered.cpu() if DeviceGroup.current().is_first else gathered.new_empty(0)


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This worker's part of a whole tensor, where ``like`` is shared out over the workers and of the same shape."""
    if isinstance(tensor, DTensor) or not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def gather_weights(sharded: nn.Module, into: nn.Module) -> None:
    """Copy the trained weights of a module, which may be shared out over the workers, into one that is not."""
    for name, target in into.named_parameters():
        if target.requires_grad:
            value = sharded.get_parameter(name)
            target.copy_(value.full_tensor() if isinstance(value, DTensor) else value)


def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Cut the gradient of a step to a norm, over parameters that are shared out and such that are not."""
    known = [parameter for parameter in parameters if parameter.grad is not None]
    kinds = [[p for p in known if isinstance(p, DTensor) is is_shared] for is_shared in (True, False)]
    kinds = [kind for kind in kinds if kind]
    norms = [get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds]
    norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        clip_grads_with_norm_(kind, most, total)
