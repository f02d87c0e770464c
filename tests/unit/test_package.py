import ast
import subprocess
import sys
from pathlib import Path

import unirouter_torch

HEAVY = (
    "torch",
    "lightning",
    "transformers",
    "datasets",
    "pandas",
    "sklearn",
    "matplotlib",
    "pyarrow",
    "wandb",
    "scipy",
)


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_importing_the_package_stays_light() -> None:
    assert not modules_after("import unirouter_torch").intersection(HEAVY)


def test_a_router_is_loaded_without_training_and_data_libraries() -> None:
    loaded = modules_after("from unirouter_torch import Router")
    assert "torch" in loaded
    assert not loaded.intersection({"lightning", "datasets", "pyarrow", "matplotlib", "wandb", "jsonargparse"})


def test_a_server_is_loaded_without_training_and_data_libraries() -> None:
    loaded = modules_after("from unirouter_torch.serving.server import serve")
    assert {"fastapi", "uvicorn"} < loaded
    assert not loaded.intersection({"lightning", "datasets", "pyarrow", "sklearn", "openai", "matplotlib", "wandb"})


def test_commands_are_declared_without_their_packages() -> None:
    assert not modules_after("import unirouter_torch.cli").intersection({*HEAVY, "fastapi", "uvicorn", "openai"})


def test_public_names_are_those_that_editors_see() -> None:
    tree = ast.parse(Path(unirouter_torch.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: f"{node.module.removeprefix('unirouter_torch.')}:{alias.name}"
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }
    assert seen == unirouter_torch._HOMES
    assert unirouter_torch.__all__ == sorted({*seen, "__version__"})


def test_every_public_name_is_there_and_explained() -> None:
    for name in unirouter_torch._HOMES:
        assert getattr(unirouter_torch, name).__doc__, name
    assert set(unirouter_torch.__all__) <= set(dir(unirouter_torch))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(unirouter_torch, "Ruter")
