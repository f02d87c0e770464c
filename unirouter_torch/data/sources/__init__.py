"""The forms in which outcomes come; each file here reads one form into the same three tables."""

from typing import NamedTuple

import pyarrow as pa

from unirouter_torch.data.table import TablePlaces


class SourceTables(NamedTuple):
    """What a source gives, not checked beyond what only it can check."""

    prompts: pa.Table
    """The prompts."""
    models: pa.Table
    """The LLMs."""
    outcomes: pa.Table
    """The outcomes."""
    places: TablePlaces
    """Where each was read, for messages."""
