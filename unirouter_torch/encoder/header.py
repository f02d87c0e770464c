"""What the files of an encoder say without their numbers: checked when a router is loaded, before its encoder is."""

from pathlib import Path

from unirouter_torch.config.checks import at_least
from unirouter_torch.encoder.files import read_form, read_recipe
from unirouter_torch.encoder.static_files import dim_of_table, holds_static_encoder
from unirouter_torch.errors import ArtifactError, ConfigError
from unirouter_torch.storage import read_json, read_tensor_shapes


def dim_in_files(folder: Path, max_length: int | None) -> int | None:
    """Length of an embedding, its form included, by the settings of an encoder and the headers of its weights.

    Args:
        folder: The encoder's folder.
        max_length: Longest prompt [tokens] that it is to read; what its files say when not given.

    Returns:
        The length; None where the settings of a network do not tell.

    Raises:
        ArtifactError: A file is missing, holds something else than it should, or has a damaged header.
        ConfigError: The encoder reads no prompts of that length.
    """
    if max_length is not None:
        at_least("encoder.max_length", max_length, 8)
    form = read_form(folder, None)
    dim = dim_of_table(folder) if holds_static_encoder(folder) else _dim_of_network(folder, max_length)
    return None if dim is None else dim + (0 if form is None else form.dim)


def _dim_of_network(folder: Path, max_length: int | None) -> int | None:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ArtifactError(f"{folder / 'config.json'}: expected the settings of a network. Copy the folder whole.")
    positions = config.get("max_position_embeddings")
    if max_length is not None and isinstance(positions, int) and max_length > positions > 0:
        raise ConfigError(
            f"encoder.max_length: got {max_length}, expected at most the encoder's {positions} positions."
        )
    read_recipe(folder)
    for weights in folder.glob("model*.safetensors"):
        read_tensor_shapes(weights)
    dim = config.get("hidden_size")
    return dim if isinstance(dim, int) else None
