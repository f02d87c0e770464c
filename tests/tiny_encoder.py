"""Tiny text networks with random weights, written as folders in Hugging Face and sentence-transformers layout."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    BertConfig,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)

from unirouter_torch.encoder.form import PromptForm

DIM = 16
NUM_POSITIONS = 48
PROMPTS = [
    "the otter sings",
    "a",
    "seven red kites over the old harbour and nobody counts them twice",
    "why does the clock in the harbour sing",
    "",
    "Otter otter OTTER",
    "kites " * 100,
]
"""Invented prompts of mixed length, among them an empty one and one that is longer than any tiny encoder reads."""

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = [*sorted(set(" ".join(PROMPTS[:4]).lower().split())), "question", ":"]
_SIZES: dict[str, Any] = {
    "hidden_size": DIM,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(_SPECIAL_TOKENS) + len(_WORDS),
    "max_position_embeddings": NUM_POSITIONS,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_DECODER_SIZES = {**_SIZES, "num_key_value_heads": 1}


def save_bert(folder: Path, **sentence_files: Any) -> Path:
    """A BERT whose tokens are wrapped in [CLS] and [SEP]."""
    return _save(folder, BertConfig(**_SIZES), "[CLS] $A [SEP]", **sentence_files)


def save_roberta(folder: Path, **sentence_files: Any) -> Path:
    """A RoBERTa, which counts positions from the one after the padding token."""
    return _save(folder, RobertaConfig(**_SIZES), "[CLS] $A [SEP]", **sentence_files)


def save_modernbert(folder: Path, **sentence_files: Any) -> Path:
    """A ModernBERT: rotary positions, and a sliding window that is shorter than the longest prompt."""
    config = ModernBertConfig(
        **_SIZES,
        cls_token_id=2,
        sep_token_id=3,
        local_attention=8,
        global_attn_every_n_layers=2,
        initializer_cutoff_factor=2.0,
    )
    return _save(folder, config, "[CLS] $A [SEP]", **sentence_files)


def save_qwen2(folder: Path, padding_side: str = "left", **sentence_files: Any) -> Path:
    """A decoder that ends each prompt with [SEP] and pads on the given side."""
    return _save(folder, Qwen2Config(**_DECODER_SIZES), "$A [SEP]", padding_side=padding_side, **sentence_files)


def save_llama(folder: Path, **sentence_files: Any) -> Path:
    """A decoder that adds no token of its own, so that an empty prompt has no token at all."""
    return _save(folder, LlamaConfig(**_DECODER_SIZES), "$A", **sentence_files)


def save_t5(folder: Path) -> Path:
    """An encoder-decoder."""
    sizes = {"d_model": DIM, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": _SIZES["vocab_size"]}
    return _save(folder, T5Config(**sizes, decoder_start_token_id=0), "$A [SEP]")


def save_static(folder: Path, dtype: torch.dtype = torch.float32, **ignored: Any) -> Path:
    """A static encoder in the layout of model2vec: a random vector for each token."""
    del ignored
    vectors = torch.randn(_SIZES["vocab_size"], DIM, generator=torch.Generator().manual_seed(0))
    folder.mkdir(parents=True)
    save_file({"embeddings": vectors.to(dtype)}, folder / "model.safetensors")
    _tokenizer("[CLS] $A [SEP]").save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", {"normalize": True})
    modules = {"StaticEmbedding": "", "Normalize": "1_Normalize"}
    layout = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{module}"}
        for index, (module, path) in enumerate(modules.items())
    ]
    _write_json(folder / "modules.json", layout)
    _write_json(folder / "1_Normalize" / "config.json", {})
    return folder


def save_static_with_form(folder: Path, **ignored: Any) -> Path:
    """The same with surface features of the prompts beside the embedding."""
    del ignored
    save_static(folder)
    _write_json(folder / "form.json", PromptForm.typical(1.0).to_json())
    return folder


def write_sentence_files(
    folder: Path,
    *,
    pooling: dict[str, Any] | None = None,
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    network: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
) -> None:
    """The files of sentence-transformers, with the given content."""
    paths = ["", "1_Pooling", "2_Normalize", "3_Other"]
    layout = [
        {"idx": index, "name": str(index), "path": paths[index], "type": f"sentence_transformers.models.{module}"}
        for index, module in enumerate(modules)
    ]
    _write_json(folder / "modules.json", layout)
    pooling = {"word_embedding_dimension": DIM, **(pooling or {"pooling_mode_mean_tokens": True})}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    _write_json(folder / "sentence_bert_config.json", network or {"max_seq_length": 24, "do_lower_case": False})
    if prompts is not None:
        _write_json(folder / "config_sentence_transformers.json", prompts)


def _save(folder: Path, config: PretrainedConfig, template: str, padding_side: str = "right", **files: Any) -> Path:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(template),
        padding_side=padding_side,
        model_max_length=40,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    ).save_pretrained(folder)
    if files:
        write_sentence_files(folder, **files)
    return folder


def _tokenizer(template: str) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(_SPECIAL_TOKENS + _WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
