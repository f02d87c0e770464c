"""Write the simulated routing table to a folder, as an example of the form on disk.

python scripts/write_simulated_table.py --output data/simulated
"""

import argparse
import sys
from pathlib import Path

from unirouter_torch.cli.output import guarded
from unirouter_torch.data.simulate import simulate_tables
from unirouter_torch.data.sources.parquet_folder import write_parquet_folder


def main() -> int:
    """Parse, simulate, write; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the simulated routing table to a folder.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write; made where missing")
    parser.add_argument("--prompts", type=int, default=6000, metavar="N", help="default: %(default)s")
    parser.add_argument("--llms", type=int, default=48, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    def write() -> None:
        tables = simulate_tables(num_prompts=options.prompts, num_llms=options.llms, seed=options.seed)
        write_parquet_folder(options.output, *tables)
        print(f"wrote {options.output}: prompts.parquet, models.parquet, outcomes.parquet")

    return guarded(write)


if __name__ == "__main__":
    sys.exit(main())
