"""Fit routers of another project on labelled prompts, for ``compare_peers.py``, in an environment that has the project.

    python scripts/peers_worker.py FOLDER ROUTER [ROUTER ...]

``FOLDER/trial_N.npz`` has ``embedding`` and ``error`` [prompt, llm] (NaN where not observed) of the labelled prompts,
``held_out`` (which of them a choice of settings is made on), ``test`` (embeddings) and ``pair`` (two LLMs, strong and
weak). ``FOLDER/ROUTER_N.npz`` gets estimated qualities for every setting, ``FOLDER/ROUTER_N.json`` times and memory.
Nothing of this project is needed but ``unirouter_torch.metrics.stages``, which imports nothing.
"""

# over 300 lines: one file, as it runs where this package is not installed

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # asks the network otherwise
os.environ.setdefault("OPENAI_API_KEY", "none")  # RouteLLM makes a client when it is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from unirouter_torch.metrics.stages import StageCost, measure

Matrix = np.ndarray[Any, np.dtype[Any]]
NUM_SINGLE = 50
"""Prompts that are routed one at a time, for the speed of that."""


class Fitted(NamedTuple):
    """A fitted router of a peer.

    Attributes:
        estimate: Estimated quality of each LLM on prompts with some embeddings, in [0, 1].
        choose: Column of the LLM that the peer chooses for each of them.
        route_one: Routes one prompt as the peer does, with the embedding at hand.
        cost: What reading the labels and training took.
    """

    estimate: Callable[[Matrix], Matrix]
    choose: Callable[[Matrix], Matrix]
    route_one: Callable[[Matrix], Any]
    cost: StageCost


class Labels(NamedTuple):
    """Labelled prompts to fit on, and the two LLMs of a peer that knows but two."""

    embedding: Matrix
    error: Matrix
    pair: Matrix


class Peer(NamedTuple):
    """How one router of a peer is fitted; the first of the settings is the peer's default."""

    settings: tuple[dict[str, Any], ...]
    fit: Callable[[Labels, dict[str, Any]], Fitted]
    as_it_is: Callable[[], object]
    """Embeds one prompt as the peer does by default."""


def llmrouter_files(labels: Labels, settings: dict[str, Any], folder: Path) -> Path:
    """The files that LLMRouter reads; returns that of its configuration."""
    torch.save(torch.tensor(labels.embedding), folder / "embeddings.pt")
    # it takes the first of equals as the best: from the LLM of the best labels to that of the worst
    order = np.argsort(np.nanmean(labels.error, axis=0), kind="stable")
    with (folder / "routing.jsonl").open("w") as file:
        for prompt, errors in enumerate(labels.error):
            for llm in order[~np.isnan(errors[order])]:
                row = {"query": f"{prompt:07}", "model_name": f"{llm:04}", "performance": 1 - float(errors[llm])}
                file.write(json.dumps(row | {"embedding_id": prompt}) + "\n")
    model = str(folder / "model.pkl")
    config = {
        "data_path": {
            "query_embedding_data": str(folder / "embeddings.pt"),
            "routing_data_train": str(folder / "routing.jsonl"),
        },
        "model_path": {"ini_model_path": "", "save_model_path": model, "load_model_path": model},
        "hparam": {name: value for name, value in settings.items() if name != "batch"},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder / "config.yaml"


def fit_llmrouter(kind: str, labels: Labels, settings: dict[str, Any]) -> Fitted:
    """Train a router of LLMRouter by its trainer; names of LLMs are numbers, in the order of columns."""
    from importlib import import_module

    module = import_module(f"llmrouter.models.{kind}.router")
    trainers = import_module(f"llmrouter.models.{kind}.trainer")
    router_name, trainer_name = {
        "knnrouter": ("KNNRouter", "KNNRouterTrainer"),
        "svmrouter": ("SVMRouter", "SVMRouterTrainer"),
        "mlprouter": ("MLPRouter", "MLPTrainer"),
        "mfrouter": ("MFRouter", "MFRouterTrainer"),
    }[kind]
    if kind == "mfrouter":
        settings = settings | {"text_dim": labels.embedding.shape[1]}
    config = str(llmrouter_files(labels, settings, Path(tempfile.mkdtemp())))

    def train() -> tuple[Any, Any]:
        router = getattr(module, router_name)(config)
        trainer = getattr(trainers, trainer_name)(router, device="cpu")
        trainer.train()
        return router, trainer

    (router, trainer), cost = measure(train)
    model, num_llms = trainer.model, labels.error.shape[1]
    # a string of digits is read as a number by its CSV reader
    names = list(model.classes_) if hasattr(model, "classes_") else list(router.idx_to_model.values())
    columns = np.array([int(name) for name in names])

    def scores(embedding: Matrix) -> Matrix:
        if hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(embedding))
        with torch.no_grad():
            inputs = torch.tensor(embedding)
            if kind == "mlprouter":
                return np.asarray(model(inputs).softmax(-1))
            projected = model.project_text(inputs)
            return np.asarray(torch.stack([model.score_all(one) for one in projected]).sigmoid())

    def estimate(embedding: Matrix) -> Matrix:
        found = np.zeros((len(embedding), num_llms))
        found[:, columns] = scores(embedding)
        return found

    def choose(embedding: Matrix) -> Matrix:
        if hasattr(model, "predict_proba"):  # of a support vector machine not where the probability is highest
            return np.array([int(name) for name in model.predict(embedding)])
        return np.asarray(columns[scores(embedding).argmax(-1)])

    def route_one(embedding: Matrix) -> Any:
        module.get_longformer_embedding = lambda _: torch.tensor(embedding)  # type: ignore[attr-defined]
        return router.route_single({"query": "a prompt"})

    return Fitted(estimate, choose, route_one, cost)


def longformer() -> object:
    """One prompt embedded as LLMRouter does."""
    from llmrouter.utils import get_longformer_embedding

    return get_longformer_embedding("a prompt")


def fit_routellm(labels: Labels, settings: dict[str, Any]) -> Fitted:
    """Train RouteLLM's matrix factorisation on the pairs of the two LLMs that differ, by its training loop."""
    from routellm.routers.matrix_factorization import model as serving
    from routellm.routers.matrix_factorization import train_matrix_factorization as training

    names = list(serving.MODEL_IDS)[:2]  # its LLMs are a list in its code: two of them stand for ours
    strong, weak = labels.error[:, labels.pair].T
    differ = np.flatnonzero(~np.isnan(strong) & ~np.isnan(weak) & (strong != weak))
    data = [
        {
            "model_a": names[0],
            "model_b": names[1],
            "idx": int(row),
            "winner": "model_a" if strong[row] < weak[row] else "model_b",
        }
        for row in differ
    ]
    folder, size = Path(tempfile.mkdtemp()), labels.embedding.shape
    np.save(folder / "embeddings.npy", labels.embedding)
    split = max(2, len(data) // 20)  # its evaluation wants two

    def train() -> Any:
        net = training.MFModel_Train(
            dim=settings["dim"],
            num_models=len(serving.MODEL_IDS),
            num_prompts=size[0],
            text_dim=size[1],
            npy_path=str(folder / "embeddings.npy"),
        )
        training.train_loops(
            net,
            training.PairwiseDataset(data[split:]).get_dataloaders(64),
            training.PairwiseDataset(data[:split]).get_dataloaders(1024, shuffle=False),
            lr=3e-4,
            weight_decay=1e-5,
            alpha=settings["alpha"],
            num_epochs=settings["epochs"],
            device="cpu",
        )
        return net

    net, cost = measure(train)
    served = serving.MFModel(settings["dim"], len(serving.MODEL_IDS), size[1], 1, True)
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("Q")}
    served.load_state_dict(
        {
            name.replace("text_proj.", "text_proj.0.").replace("classifier.", "classifier.0."): value
            for name, value in state.items()
        }
    )

    @torch.no_grad()
    def win_rate(embedding: Matrix) -> Matrix:
        strong, weak = torch.nn.functional.normalize(served.P.weight[:2])
        projected = served.text_proj(torch.tensor(embedding))
        return np.asarray(served.classifier((strong - weak) * projected).sigmoid().squeeze(-1))

    def estimate(embedding: Matrix) -> Matrix:
        found = np.zeros((len(embedding), labels.error.shape[1]))
        rate = win_rate(embedding)
        found[:, labels.pair[0]], found[:, labels.pair[1]] = rate, 1 - rate
        return found

    def choose(embedding: Matrix) -> Matrix:
        return np.asarray(np.where(win_rate(embedding) >= 0.5, labels.pair[0], labels.pair[1]))

    def route_one(embedding: Matrix) -> Any:
        answer = type("Answer", (), {"data": [type("Row", (), {"embedding": embedding})]})
        endpoint = type("Endpoint", (), {"create": staticmethod(lambda **_: answer)})
        serving.OPENAI_CLIENT = type("Client", (), {"embeddings": endpoint})
        return served.pred_win_rate(0, 1, "a prompt")

    return Fitted(estimate, choose, route_one, cost)


def openai_embedding() -> object:
    """One prompt embedded as RouteLLM does."""
    from routellm.routers.similarity_weighted.utils import OPENAI_CLIENT

    return OPENAI_CLIENT.embeddings.create(input=["a prompt"], model="text-embedding-3-small")


def _llmrouter(kind: str, *settings: dict[str, Any]) -> Peer:
    return Peer(settings, lambda labels, chosen: fit_llmrouter(kind, labels, chosen), longformer)


_KNN = {"n_neighbors": 5, "weights": "uniform", "metric": "minkowski"}
_SVM = {"kernel": "rbf", "C": 1.0, "gamma": "scale", "probability": True}
_MLP = {
    "hidden_layer_sizes": [128, 64],
    "activation": "relu",
    "lr": 1e-3,
    "epochs": 100,
    "batch_size": 32,
    "alpha": 1e-4,
}
_MF = {"latent_dim": 128, "lr": 1e-3, "epochs": 5, "noise_alpha": 0.0}
_ROUTELLM = {"dim": 128, "alpha": 0.1, "epochs": 100}
PEERS = {
    "llmrouter_knn": _llmrouter("knnrouter", _KNN, *(_KNN | {"n_neighbors": count} for count in (20, 80))),
    "llmrouter_svm": _llmrouter("svmrouter", _SVM, _SVM | {"C": 0.1}, _SVM | {"C": 10.0}),
    "llmrouter_mlp": _llmrouter("mlprouter", _MLP, _MLP | {"epochs": 10}, _MLP | {"epochs": 30, "alpha": 1e-2}),
    "llmrouter_mf": _llmrouter("mfrouter", _MF, _MF | {"latent_dim": 16}, _MF | {"lr": 5e-3}),
    "routellm_mf": Peer(
        (_ROUTELLM, _ROUTELLM | {"alpha": 0.01}, _ROUTELLM | {"alpha": 0.01, "epochs": 20}),
        fit_routellm,
        openai_embedding,
    ),
}
"""Every router of a peer by name; the defaults are those of its example configuration or script."""


def error_text(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def run_trial(peer: Peer, arrays: Any) -> tuple[dict[str, Matrix], dict[str, Any]]:
    """Fit every setting, on the labels but those held out and on all of them; measure the default."""
    labels, held_out = Labels(*(arrays[name] for name in ("embedding", "error", "pair"))), arrays["held_out"]
    rest, estimates = Labels(labels.embedding[~held_out], labels.error[~held_out], labels.pair), {}
    facts: dict[str, Any] = {"settings": list(peer.settings), "errors": {}}
    for number, settings in enumerate(peer.settings):
        try:
            estimates[f"held_out_{number}"] = peer.fit(rest, settings).estimate(labels.embedding[held_out])
            fitted = peer.fit(labels, settings)
            estimates[f"test_{number}"] = fitted.estimate(arrays["test"])
            estimates[f"choice_{number}"] = fitted.choose(arrays["test"])
        except Exception as error:
            facts["errors"][str(number)] = error_text(error)
            continue
        if number == 0:
            facts |= {"fit_seconds": fitted.cost.wall_seconds, "fit_bytes": fitted.cost.peak_bytes} | speeds(
                fitted, arrays["test"]
            )
    return estimates, facts


def speeds(fitted: Fitted, embedding: Matrix) -> dict[str, float]:
    """Prompts routed per second, in one batch and one at a time, embeddings at hand."""
    start = time.perf_counter()
    fitted.choose(embedding)
    batch = time.perf_counter() - start
    start = time.perf_counter()
    for one in embedding[:NUM_SINGLE]:
        fitted.route_one(one)
    single = time.perf_counter() - start
    return {"batch_per_second": len(embedding) / batch, "single_per_second": len(embedding[:NUM_SINGLE]) / single}


def run_router(name: str, folder: Path) -> None:
    """Fit a router on every trial of a folder."""
    peer = PEERS[name]
    try:
        peer.as_it_is()
        embeds = "works"
    except Exception as error:
        embeds = error_text(error)
    for file in sorted(folder.glob("trial_*.npz")):
        torch.manual_seed(0)
        np.random.seed(0)
        with np.load(file) as arrays:
            estimates, facts = run_trial(peer, {key: arrays[key] for key in arrays.files})
        place = folder / file.name.replace("trial", name)
        np.savez(place, allow_pickle=False, **estimates)
        place.with_suffix(".json").write_text(json.dumps(facts | {"embeds": embeds}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout = sys.stderr  # the peers print
    for router in sys.argv[2:]:
        run_router(router, Path(sys.argv[1]))
