"""``unirouter recipes``: what ``--config`` knows by name."""

from rich.table import Table

from unirouter_torch.cli.output import plain_console


def list_recipes() -> None:
    """List the recipes that --config takes by name, and what each needs."""
    from unirouter_torch.config.recipes import purpose_of, recipes

    table = Table("recipe", "what it does and needs")
    for name, file in recipes().items():
        table.add_row(name, purpose_of(file))
    plain_console().print(table)
