"""The programs on the pages of the docs."""

import re

from miniature import ROOT


def programs_of(page: str, *, with_text: str = "") -> list[str]:
    """The Python programs of a page below ``docs``, those that hold a text alone."""
    content = (ROOT / "docs" / page).read_text()
    found = re.findall(r"^```python\n(.*?)^```", content, re.DOTALL | re.MULTILINE)
    return [program for program in found if with_text in program]


def export_program(export_format: str, folder: object) -> str:
    """The program of the export page that runs a format, on the export in a folder."""
    place = f"runs/quickstart/{export_format}"
    (program,) = programs_of("how_to/export.md", with_text=place)
    assert "unirouter_torch" not in program
    return program.replace(place, str(folder))
