"""A dataset in Hugging Face layout with the configs ``prompts``, ``models`` and ``outcomes``."""

import pyarrow as pa

from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces
from unirouter_torch.errors import DataError


def read_hub_dataset(dataset: str) -> SourceTables:
    """Read the ``train`` split of three configs, from the hub or from a local folder in the same layout.

    Args:
        dataset: ``owner/name``, ``owner/name@revision``, or the path of a local folder.

    Returns:
        The tables as they are in the dataset.

    Raises:
        DataError: The dataset, its revision, a config or the split is missing, or cannot be read.
    """
    name, _, revision = dataset.partition("@")
    places = TablePlaces(*(f"hub:{dataset}, config {part!r}" for part in TablePlaces._fields))
    parts = zip(TablePlaces._fields, places, strict=True)
    prompts, models, outcomes = (_read(name, config, revision or None, place) for config, place in parts)
    return SourceTables(prompts, models, outcomes, places)


def _read(name: str, config: str, revision: str | None, place: str) -> pa.Table:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(name, config, split="train", revision=revision).with_format("arrow")[:]
    except (DatasetsError, OSError, ValueError) as error:
        expected = f"a dataset with the configs {', '.join(TablePlaces._fields)} and the split train"
        raise DataError(
            f"{place}: expected {expected} ({error}). Check the name, the revision and the access."
        ) from error
