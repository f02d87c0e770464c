"""From the name of an encoder to the encoder, of whichever kind its folder holds."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from unirouter_torch.config.router import Backend
from unirouter_torch.encoder.files import download_encoder, find_encoder, read_form, read_recipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_files import holds_static_encoder, read_static_encoder
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import ConfigError

if TYPE_CHECKING:
    from unirouter_torch.encoder.transformer_encoder import TransformerEncoder


def load_encoder(
    name_or_path: str,
    *,
    revision: str | None,
    max_length: int | None,
    form_weight: float | None,
    backend: Backend,
    cache_dir: str | None,
    allow_download: bool,
) -> PromptEncoder:
    """As :meth:`PromptEncoder.from_pretrained`, which says what the arguments are."""
    place = find_encoder(name_or_path)
    if isinstance(place, Path):
        folder = place
    else:
        folder = download_encoder(place, revision=revision, allow_download=allow_download)
    form = read_form(folder, form_weight)
    if holds_static_encoder(folder):
        if backend != "torch":
            raise ConfigError(
                f"encoder.backend: got {backend}, but {name_or_path} holds a static encoder, which has no network to "
                "run. Leave the backend out."
            )
        return read_static_encoder(folder, name=name_or_path, max_length=max_length, form=form).eval()

    def load() -> "TransformerEncoder":
        return _load_transformer(folder, name_or_path, max_length, form)

    if backend == "torch":
        return load()
    # here, as only these backends need it
    from unirouter_torch.encoder.onnx_encoder import open_onnx_encoder

    return open_onnx_encoder(
        load,
        backend,
        name=name_or_path,
        folder=folder,
        max_length=max_length,
        form=form,
        cache_dir=cache_folder(cache_dir),
    )


def _load_transformer(folder: Path, name: str, max_length: int | None, form: PromptForm | None) -> "TransformerEncoder":
    # here, so that a router with a static encoder starts without transformers, which takes seconds to import
    from unirouter_torch.encoder.transformer_encoder import TransformerEncoder
    from unirouter_torch.encoder.transformer_loading import load_network, resolve_max_length

    recipe = read_recipe(folder)
    network, tokenizer = load_network(folder)
    max_length = resolve_max_length(max_length, recipe.max_length, tokenizer.model_max_length, network)
    recipe = dataclasses.replace(recipe, max_length=max_length)
    return TransformerEncoder(network, tokenizer, recipe, name=name, folder=folder, form=form).eval()
