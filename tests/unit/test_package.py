import subprocess
import sys

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
