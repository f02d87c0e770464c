"""``unirouter pretrain``: a router that takes any pool of LLMs."""

from pathlib import Path

from unirouter_torch.cli.output import plain_console, print_places


def pretrain(settings: list[str]) -> None:
    """Train on the tables of ``data.tables``, for prompts and LLMs that are still to come."""
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.pretrain import pretrain as train

    config = parse_config(settings, program="unirouter pretrain")
    if train(config) is None:
        return  # the first worker reports
    print_places(plain_console(), {"router": Path(config.output_dir) / "router"})
