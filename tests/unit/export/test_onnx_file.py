import onnx
import pytest
import torch
from small_router import small_router
from tiny_encoder import PROMPTS, save_bert, save_qwen2, save_static, save_static_with_form

from unirouter_torch.export.graph import RoutingGraph, bytes_of
from unirouter_torch.export.onnx_file import open_onnx, write_onnx


@pytest.mark.parametrize(
    ("save", "pooling"),
    [
        (save_bert, "pooling_mode_mean_tokens"),
        (save_qwen2, "pooling_mode_lasttoken"),
        (save_static, ""),
        (save_static_with_form, ""),
    ],
)
def test_file_routes_any_number_of_prompts_and_tokens(tmp_path, save, pooling: str) -> None:
    router = small_router(tmp_path, save_encoder=save, pooling=pooling)
    write_onnx(tmp_path, RoutingGraph(router.encoder, router.head, router.chooser()), int8=False)
    run = open_onnx(tmp_path)
    for prompts in (PROMPTS, PROMPTS[1:2], PROMPTS[-1:]):
        tokens, size = router.encoder.tokenize(prompts), (len(prompts),)
        beside = bytes_of(router.encoder, prompts)
        estimated, choice = run(*tokens.values(), torch.full(size, 0.1), torch.full(size, 9), *beside)
        torch.testing.assert_close(estimated, router.estimate_error(prompts), rtol=0, atol=1e-5)
        assert [router.pool.names[column] for column in choice] == [route.llm for route in router.route(prompts)]


def test_int8_rounds_the_weights_of_the_encoder_alone(tmp_path) -> None:
    router = small_router(tmp_path)
    write_onnx(tmp_path, RoutingGraph(router.encoder, router.head, router.chooser()), int8=True)
    graph = onnx.load(tmp_path / "router.onnx").graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    assert kinds["encoder.network.embeddings.word_embeddings.weight_quantized"] == onnx.TensorProto.UINT8
    # six matrices in each of the two layers
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) == 12
    of_head = [kind for name, kind in kinds.items() if name.startswith("head.linear")]
    assert of_head == [onnx.TensorProto.FLOAT] * 2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["encoder"]
    tokens = router.encoder.tokenize(PROMPTS)
    estimated, _ = open_onnx(tmp_path)(*tokens.values(), torch.zeros(len(PROMPTS)), torch.full((len(PROMPTS),), 9))
    difference = (estimated - router.estimate_error(PROMPTS)).abs().max()
    assert 1e-6 < difference < 0.2
