"""``unirouter data``: public routing tables."""

import argparse
from pathlib import Path

from unirouter_torch.cli.output import Commands, plain_console, print_places


def add_data(commands: Commands) -> None:
    """Declare ``unirouter data``."""
    parser = commands.add_parser("data", help="prepare public routing tables")
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("prepare", help="download a public table and write it as a folder of Parquet files")
    names = "embedllm, routerbench, sprout, mixinstruct, headlines or llmrouterbench"
    action.add_argument("name", metavar="NAME", help=names)
    action.add_argument("--output", required=True, metavar="DIR", help="folder to write, for data.path")
    action.add_argument("--from-files", metavar="DIR", help="folder with the published files; no network is used")
    action.add_argument("--revision", metavar="R", help="commit, tag or branch to download instead of the pinned one")
    action.add_argument(
        "--unsafe-pickle",
        action="store_true",
        help="accept files in a format that can carry code; only plain values and pandas tables are loaded from them",
    )
    action.set_defaults(run=prepare)


def prepare(options: argparse.Namespace, _: list[str]) -> None:
    """Write a public table and say what it holds."""
    from unirouter_torch.data.public.prepare import PROVENANCE_NAME, prepare_table

    output = Path(options.output)
    size = prepare_table(
        options.name,
        output,
        from_files=None if options.from_files is None else Path(options.from_files),
        revision=options.revision,
        unsafe_pickle=options.unsafe_pickle,
    )
    console = plain_console()
    console.print(f"{size.num_outcomes:,} outcomes of {size.num_llms:,} LLMs on {size.num_prompts:,} prompts")
    print_places(console, {"table": output, "provenance": output / PROVENANCE_NAME})
