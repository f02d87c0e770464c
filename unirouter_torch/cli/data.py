"""``unirouter data``: public routing tables."""

from dataclasses import dataclass
from typing import Annotated

from unirouter_torch.cli.options import Folder, Shown
from unirouter_torch.cli.output import plain_console, print_places


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of ``unirouter data prepare``."""

    name: Annotated[str, Shown(metavar="NAME", positional=True)]
    """The table: embedllm, routerbench, sprout, mixinstruct, headlines or llmrouterbench."""
    output: Folder
    """Folder to write, for ``data.path``."""
    from_files: Folder | None = None
    """Folder with the published files; no network is used."""
    revision: Annotated[str | None, Shown(metavar="R")] = None
    """Commit, tag or branch to download instead of the pinned one."""
    unsafe_pickle: bool = False
    """Accept files in a format that can carry code; only plain values and pandas tables are loaded from them."""


def prepare(options: PrepareOptions) -> None:
    """Download a public table and write it as a folder of Parquet files."""
    from unirouter_torch.data.public.prepare import PROVENANCE_NAME, prepare_table

    output = options.output
    size = prepare_table(
        options.name,
        output,
        from_files=options.from_files,
        revision=options.revision,
        unsafe_pickle=options.unsafe_pickle,
    )
    console = plain_console()
    console.print(f"{size.num_outcomes:,} outcomes of {size.num_llms:,} LLMs on {size.num_prompts:,} prompts")
    print_places(console, {"table": output, "provenance": output / PROVENANCE_NAME})
