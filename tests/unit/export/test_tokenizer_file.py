import pytest
import torch
from tiny_encoder import PROMPTS, save_bert, save_qwen2

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.export.tokenizer_file import read_tokenizer, write_tokenizer


@pytest.mark.parametrize(
    ("save", "files"),
    [
        (save_bert, {}),
        (save_qwen2, {"padding_side": "left"}),
        (save_bert, {"prompts": {"prompts": {"query": "Question: "}, "default_prompt_name": "query"}}),
        (save_bert, {"network": {"max_seq_length": 12, "do_lower_case": True}}),
    ],
)
def test_file_gives_the_tokens_of_the_encoder(tmp_path, save, files) -> None:
    save(tmp_path / "encoder", **files)
    encoder = PromptEncoder.from_pretrained(str(tmp_path / "encoder"))
    write_tokenizer(tmp_path, encoder)
    tokenize = read_tokenizer(tmp_path, prefix=encoder.recipe.prefix, lower_case=encoder.recipe.lower_case)
    tokens = encoder.tokenize(PROMPTS)
    input_ids, attention_mask = tokenize(PROMPTS)
    assert torch.equal(input_ids, tokens["input_ids"])
    assert torch.equal(attention_mask, tokens["attention_mask"])


def test_file_cuts_at_the_longest_prompt(tmp_path) -> None:
    encoder = PromptEncoder.from_pretrained(str(save_bert(tmp_path / "encoder")))
    write_tokenizer(tmp_path, encoder)
    input_ids, _ = read_tokenizer(tmp_path, prefix="", lower_case=False)(["otter " * 100, "a"])
    assert input_ids.shape == (2, encoder.max_length)


def test_file_cuts_in_front_where_the_encoder_does(tmp_path) -> None:
    encoder = PromptEncoder.from_pretrained(str(save_bert(tmp_path / "encoder")), keep="tail")
    write_tokenizer(tmp_path, encoder)
    long = ["otter " * 100 + "the clock"]
    input_ids, _ = read_tokenizer(tmp_path, prefix="", lower_case=False)(long)
    assert torch.equal(input_ids, encoder.tokenize(long)["input_ids"])
    assert not torch.equal(
        input_ids, PromptEncoder.from_pretrained(str(tmp_path / "encoder")).tokenize(long)["input_ids"]
    )
