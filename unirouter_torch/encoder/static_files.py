"""The files of a static encoder, in the layout that model2vec and sentence-transformers share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.distillation import TableDtype
from unirouter_torch.encoder.files import EncoderRecipe, first_line, read_prefix, unsupported, write_form, write_prefix
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.static_encoder import StaticEncoder, pack_table, unpack_table
from unirouter_torch.errors import ArtifactError
from unirouter_torch.storage import read_json, read_tensor_shapes, read_tensors, write_json, write_tensors

_WEIGHTS_FILE = "model.safetensors"
_TOKENIZER_FILE = "tokenizer.json"
_MODULES = ("StaticEmbedding", "Dense", "Normalize")
_IDENTITY = ("torch.nn.modules.linear.Identity", None)
_DTYPES: dict[torch.dtype, TableDtype] = {torch.float16: "float16", torch.int8: "int8"}


def holds_static_encoder(folder: Path) -> bool:
    """Whether a folder is of model2vec, or of sentence-transformers with a static embedding."""
    if (folder / "modules.json").exists():
        modules = read_json(folder / "modules.json")
        first = modules[0] if isinstance(modules, list) and modules else None
        return isinstance(first, dict) and str(first.get("type")).endswith(".StaticEmbedding")
    return _is_of_model2vec(folder)


def read_static_encoder(folder: Path, *, name: str, max_length: int | None, form: PromptForm | None) -> StaticEncoder:
    """Read a folder of which :func:`holds_static_encoder` is true.

    Args:
        folder: Written by this package, model2vec or sentence-transformers.
        name: Where the encoder came from.
        max_length: Longest prompt [tokens], at least 8; longer ones are cut. Prompts of any length when not given.
        form: Surface features that are put beside the embedding.

    Raises:
        ArtifactError: A file is missing or damaged, or asks for something that this package does not do.
        ConfigError: ``max_length`` is below 8.
    """
    if max_length is not None:
        at_least("encoder.max_length", max_length, 8)
    with _reading(folder):
        place, dense, normalize = _read_modules(folder)
        projection = None if dense is None else read_tensors(dense / _WEIGHTS_FILE)["linear.weight"].float()
        tensors = read_tensors(place / _WEIGHTS_FILE)
        table, dtype = _read_table(tensors)
        tokenizer = Tokenizer.from_file(str(place / _TOKENIZER_FILE))
        prefix = read_prefix(folder)
    if tokenizer.get_vocab_size() > len(table):
        raise ArtifactError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size():,} tokens, the table {len(table):,} rows. Copy "
            "the folder whole."
        )
    if _is_of_model2vec(folder):  # which passes over unknown tokens
        _forget_unknown(table, tokenizer)
    if projection is not None:
        table, dtype = table @ projection.T, "float32"
    recipe = EncoderRecipe(normalize=normalize, max_length=max_length, prefix=prefix)
    return StaticEncoder(table, tokenizer, recipe, name=name, folder=folder, form=form, dtype=dtype)


def dim_of_table(folder: Path) -> int:
    """Length of the embedding of the tokens, by the files that :func:`read_static_encoder` reads, but for the numbers.

    Raises:
        ArtifactError: As there.
    """
    with _reading(folder):
        place, dense, _ = _read_modules(folder)
        read_prefix(folder)
        shapes = read_tensor_shapes(place / _WEIGHTS_FILE)
        _, dim = shapes["embedding.weight"] if "embedding.weight" in shapes else shapes["embeddings"]
        return dim if dense is None else read_tensor_shapes(dense / _WEIGHTS_FILE)["linear.weight"][0]


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:  # tokenizers raises bare exceptions
        raise ArtifactError(
            f"{folder}: cannot be loaded as a static encoder ({first_line(error)}). Expected model.safetensors, "
            "tokenizer.json and modules.json as model2vec and sentence-transformers write them. Copy the folder whole."
        ) from None


def write_static_encoder(folder: Path, encoder: StaticEncoder) -> None:
    """Write an encoder so that this package, model2vec and sentence-transformers read it.

    Args:
        folder: Where to; made where missing.
        encoder: What to write, with nothing left to fold.
    """
    assert encoder.log_weight is None, "what is trained is folded first"
    vectors, scale = pack_table(encoder.table.detach().cpu(), encoder.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / _WEIGHTS_FILE, {"embeddings": vectors} | ({} if scale is None else {"weights": scale}))
    encoder.tokenizer.save(str(folder / _TOKENIZER_FILE), pretty=False)
    normalize = encoder.recipe.normalize
    # no model_type: a program that reads model2vec's files would drop unknown tokens
    write_json(folder / "config.json", {"normalize": normalize, "max_length": encoder.recipe.max_length})
    modules = {"StaticEmbedding": ""} | ({"Normalize": "1_Normalize"} if normalize else {})
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (name, path) in enumerate(modules.items())
        ],
    )
    if normalize:
        write_json(folder / "1_Normalize" / "config.json", {})
    write_prefix(folder, encoder.recipe.prefix)
    write_form(folder, encoder.form)


def _read_modules(folder: Path) -> tuple[Path, Path | None, bool]:
    """Where table and tokenizer are, where the linear map after the mean is, and whether embeddings are normalised."""
    path = folder / "modules.json"
    if not path.exists():
        return folder, None, bool(read_json(folder / "config.json").get("normalize"))
    modules = {str(module["type"]).rsplit(".", 1)[-1]: module["path"] for module in read_json(path)}
    order = [_MODULES.index(name) if name in _MODULES else -1 for name in modules]
    if order != sorted(order) or -1 in order:
        raise unsupported(path, f"the modules {', '.join(modules)}", ", ".join(_MODULES))
    dense = folder / modules["Dense"] if "Dense" in modules else None
    if dense is not None:
        config = read_json(dense / "config.json")
        if config.get("bias", True) or config.get("activation_function") not in _IDENTITY:
            raise unsupported(dense, "a dense layer with bias or activation", "a linear map")
    return folder / modules["StaticEmbedding"], dense, "Normalize" in modules


def _read_table(tensors: dict[str, Tensor]) -> tuple[Float[Tensor, "vocabulary dim"], TableDtype]:
    vectors = tensors["embedding.weight"] if "embedding.weight" in tensors else tensors["embeddings"]
    dtype = _DTYPES.get(vectors.dtype, "float32")
    if "mapping" in tensors:
        vectors = vectors[tensors["mapping"].long()]
    weights = tensors.get("weights")
    return unpack_table(vectors, None if weights is None else weights.float()), dtype


def _is_of_model2vec(folder: Path) -> bool:
    path = folder / "config.json"
    return path.exists() and read_json(path).get("model_type") == "model2vec"


def _forget_unknown(table: Tensor, tokenizer: Tokenizer) -> None:
    model: Any = tokenizer.model
    name = getattr(model, "unk_token", None)
    row = None if name is None else tokenizer.token_to_id(name)
    if row is not None:
        table[row] = 0
