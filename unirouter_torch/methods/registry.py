"""The routing method of each name."""

from typing import Any

from torch.nn.functional import one_hot

from unirouter_torch.config.training import MethodName
from unirouter_torch.methods.best_single import BestSingle
from unirouter_torch.methods.clairvoyant_end_to_end import ClairvoyantEndToEnd
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.hierarchical_shrinkage import HierarchicalShrinkage
from unirouter_torch.methods.item_response import ItemResponse
from unirouter_torch.methods.kmeans import UniRouteKMeans
from unirouter_torch.methods.knn import KNearestNeighbors
from unirouter_torch.methods.learned_map import LearnedMap
from unirouter_torch.methods.matrix_factorization import ClairvoyantMatrixFactorization, MatrixFactorization
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.mlp import MLP, ClairvoyantMLP
from unirouter_torch.methods.oracle import Oracle
from unirouter_torch.methods.random_choice import RandomChoice
from unirouter_torch.methods.source_oracle import SourceOracle
from unirouter_torch.methods.travelling import Travelling
from unirouter_torch.methods.trial import Trial
from unirouter_torch.methods.zero import ZeroRouter


def build_method(
    name: MethodName, end_to_end: EndToEnd, trial: Trial, num_clusters: int | None = None
) -> RoutingMethod[Any]:
    """The method of that name, not fitted yet.

    Args:
        name: Which method.
        end_to_end: The end-to-end router of the run.
        trial: The trial that it will be judged on; the references that know more than a router look into it.
        num_clusters: Number of clusters of K-means and LearnedMap; they choose it themselves when not given.
    """
    match name:
        case "random":
            return RandomChoice()
        case "best_single":
            return BestSingle()
        case "zero":
            return ZeroRouter()
        case "knn":
            return KNearestNeighbors()
        case "kmeans":
            return UniRouteKMeans(num_clusters)
        case "hierarchical_shrinkage":
            return HierarchicalShrinkage()
        case "learned_map":
            return LearnedMap(num_clusters)
        case "mlp":
            return MLP()
        case "matrix_factorization":
            return MatrixFactorization()
        case "item_response":
            return ItemResponse()
        case "end_to_end":
            return end_to_end
        case "travelling":
            return Travelling(end_to_end.config, end_to_end.others)
        case "clairvoyant_mlp":
            return ClairvoyantMLP(trial.clairvoyant)
        case "clairvoyant_matrix_factorization":
            return ClairvoyantMatrixFactorization(trial.clairvoyant)
        case "clairvoyant_end_to_end":
            return ClairvoyantEndToEnd(EndToEnd(end_to_end.config, None, end_to_end.others), trial.clairvoyant)
        case "source_oracle":
            return SourceOracle(trial.test, one_hot(trial.test_source).to(trial.test.error.dtype))
        case "oracle":
            return Oracle(trial.test.error)
