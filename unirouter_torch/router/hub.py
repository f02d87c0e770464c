"""Routers on the Hugging Face hub."""

import re
from pathlib import Path

from unirouter_torch.encoder.files import first_line
from unirouter_torch.errors import ArtifactError


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a router on the hub: an owner, a slash, a name."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def download_router(repo_id: str, revision: str | None) -> Path:
    """Fetch a router from the hub, or find it among what was fetched before.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; the hub's default when not given.

    Returns:
        A local folder, which the hub's client keeps.

    Raises:
        ArtifactError: There is no such router, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download  # here, as it takes a second to import

    try:
        return Path(snapshot_download(repo_id, revision=revision))
    except Exception as error:  # The hub's client raises a dozen unrelated kinds.
        raise ArtifactError(
            f"router {repo_id!r}: no such folder, and not to be had from the Hugging Face hub ({first_line(error)}). "
            "Check the path or the name; a private router needs a token (`hf auth login`)."
        ) from None


def push_folder(folder: Path, repo_id: str, *, private: bool | None, token: str | None, message: str) -> str:
    """Put a folder on the hub as one commit; files that it does not have are removed there.

    Args:
        folder: What to upload.
        repo_id: ``owner/name``; made where missing.
        private: Whether a new repository is private; as the owner's settings say where not given.
        token: A token that may write; the one of `hf auth login` when not given.
        message: Of the commit.

    Returns:
        Address of the commit.

    Raises:
        ArtifactError: The name is no hub id, the hub cannot be reached, or the token does not allow it.
    """
    if not is_hub_id(repo_id):
        raise ArtifactError(f"push_to_hub: got {repo_id!r}, expected owner/name.")
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        commit = hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message, delete_patterns="*")
    except Exception as error:  # As above.
        raise ArtifactError(
            f"push_to_hub: {repo_id} cannot be written on the Hugging Face hub ({first_line(error)}). Check the "
            "connection, and that the token may write there (`hf auth login`)."
        ) from None
    return str(commit.commit_url)
