"""The encoder of a saved router: checked when the router is loaded, and read when it is first needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.config.router import Backend
from unirouter_torch.encoder.files import digest_of_weights
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.header import dim_in_files
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ArtifactError, ConfigError
from unirouter_torch.messages import LAST_USER, check_conversation_rule
from unirouter_torch.router.saved_pool import FORMAT_VERSION
from unirouter_torch.storage import read_checksums


def describe_encoder(encoder: PromptEncoder) -> dict[str, Any]:
    """An encoder by reference: its name, the SHA-256 of its weights, and its surface features.

    Raises:
        ArtifactError: The encoder has no files to refer to.
    """
    if encoder.folder is None:
        raise ArtifactError("encoder: made in memory, so there is nothing to refer to. Save the router with it.")
    reference: dict[str, Any] = {"name": encoder.name, "sha256": digest_of_weights(encoder.folder)}
    return reference if encoder.form is None else reference | {"form": encoder.form.to_json()}


def form_of_reference(reference: Mapping[str, Any]) -> PromptForm | None:
    """The surface features of an encoder that a router refers to."""
    return PromptForm.from_json(reference["form"]) if "form" in reference else None


class SavedEncoder(NamedTuple):
    """The encoder in a router's folder, or the one that the router refers to.

    Attributes:
        folder: The router's folder.
        reference: What :func:`describe_encoder` gave; none where the encoder is in the folder.
        reading: How it reads prompts: ``max_length``, ``keep`` and ``conversation``. Routers that were saved before
            that was written down read as the files of their encoder say.
        dim: Length of the embeddings that the router's head takes.
        weights: SHA-256 of the files of weights in the folder, by name.
        backend: What runs it.
    """

    folder: Path
    reference: Mapping[str, Any] | None
    reading: Mapping[str, Any]
    dim: int
    weights: Mapping[str, str]
    backend: Backend = "torch"

    @classmethod
    def of(
        cls,
        folder: Path,
        reference: Mapping[str, Any] | None,
        reading: Mapping[str, Any],
        dim: int,
        backend: Backend = "torch",
    ) -> "SavedEncoder":
        """The encoder of the router that is in the folder now; what is said there."""
        return cls(folder, reference, reading, dim, _digests_of_weights(folder), backend)

    @property
    def conversation(self) -> str:
        """How a conversation becomes its prompt."""
        rule: str = self.reading.get("conversation", LAST_USER)
        return rule

    def check(self) -> None:
        """Check what can be checked without reading numbers; another encoder than this router's own is not looked for.

        Raises:
            ArtifactError: Its files in the router's folder are damaged or do not fit the head.
            ConfigError: It cannot read prompts as the router says.
        """
        check_conversation_rule(self.conversation, "router.json: reading.conversation")
        if self.reference is None:
            dim = dim_in_files(self.folder / "encoder", self.reading.get("max_length"))
            self._check_dim(self.dim if dim is None else dim)

    def load(self) -> PromptEncoder:
        """Read the encoder, which reads prompts as it was trained to.

        Raises:
            ArtifactError: The encoder is missing, damaged, or has other weights than the router was trained with; the
                message names the router's folder. Or another router was saved in the folder since.
        """
        try:
            encoder = self._load()
            if _digests_of_weights(self.folder) != self.weights:
                raise ArtifactError("another router was saved here since this one was loaded. Load it again.")
            self._check_dim(encoder.dim)
            for name, tensor in encoder.state_dict().items():
                if not tensor.isfinite().all():
                    raise ArtifactError(f"encoder: {name} holds numbers that are not finite. Copy the encoder again.")
        except (ArtifactError, ConfigError) as error:
            raise error if str(self.folder) in str(error) else ArtifactError(f"{self.folder}: {error}") from None
        return encoder

    def _load(self) -> PromptEncoder:
        if self.reference is None:
            return PromptEncoder.from_pretrained(str(self.folder / "encoder"), backend=self.backend, **self.reading)
        name, expected = self.reference["name"], self.reference["sha256"]
        encoder = PromptEncoder.from_pretrained(name, backend=self.backend, **self.reading)
        encoder.form = form_of_reference(self.reference)
        assert encoder.folder is not None
        found = digest_of_weights(encoder.folder)
        if found != expected:
            raise ArtifactError(
                f"{self.folder}: trained with the encoder {name} of SHA-256 {expected[:12]}..., but the one in "
                f"{encoder.folder} has {found[:12]}... Its clusters would mean nothing: get the encoder named."
            )
        return encoder

    def _check_dim(self, dim: int) -> None:
        if dim != self.dim:
            raise ArtifactError(f"encoder: gives {dim} numbers for a prompt, the head takes {self.dim}.")


def _digests_of_weights(folder: Path) -> dict[str, str]:
    digests = read_checksums(folder, "router", FORMAT_VERSION)
    return {name: digest for name, digest in digests.items() if name.startswith("encoder/") and "safetensors" in name}
