"""Put a pretrained router into the package, with what is known of it written on its card.

unirouter pretrain --config configs/research/unirouter-minilm.yaml
python scripts/bundle_router.py --router runs/unirouter-minilm/router --results runs/leave_out_* --name unirouter-minilm
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from unirouter_torch.cli.output import guarded
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.router.router import Router
from unirouter_torch.router.router_files import BUNDLED_FOLDER
from unirouter_torch.storage import read_json

LICENCES = {
    "mmlu_pro": "Apache-2.0",
    "zeroeval": "Apache-2.0",
    "llmrouter_default": "MIT",
    "farel_bench": "MIT",
    "eq_bench_v2": "MIT",
}
COMPARED = ("travelling", "kmeans", "zero")


def left_out(folder: Path) -> dict[str, Any]:
    """Areas of a comparison with a router that was trained on the other tables alone."""
    results = read_json(folder / "results.json")
    missing = [name for name in COMPARED if name not in results["methods"]]
    if missing:
        raise ConfigError(f"{folder}: no results of {missing[0]}; expected those of {', '.join(COMPARED)}.")
    areas = {f"area_{name}": round(results["methods"][name]["area"], 4) for name in COMPARED}
    return {"num_trials": len(results["trials"])} | areas


def bundle(options: argparse.Namespace) -> None:
    """Write the router with its facts."""
    router = Router.from_pretrained(options.router)
    for name, facts in router.about["trained_on"].items():
        facts["licence"] = LICENCES.get(name, "unknown")
    tables = {read_json(folder / "results.json")["table"]["name"]: folder for folder in options.results}
    if tables:
        router.about["unseen_table_and_llms"] = {name: left_out(folder) for name, folder in tables.items()}
    with_encoder = isinstance(router.encoder, StaticEncoder)  # a transformer is too large, and is referred to
    router.save_pretrained(BUNDLED_FOLDER / options.name, with_encoder=with_encoder)
    print(BUNDLED_FOLDER / options.name)


def main() -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description="Put a pretrained router into the package.")
    parser.add_argument("--router", required=True, type=Path, metavar="DIR", help="what unirouter pretrain wrote")
    parser.add_argument("--results", default=[], nargs="*", type=Path, metavar="DIR", help="leave-one-out runs")
    parser.add_argument("--name", required=True, metavar="NAME", help="what Router.from_pretrained will take")
    options = parser.parse_args()
    return guarded(lambda: bundle(options))


if __name__ == "__main__":
    sys.exit(main())
