"""The routing method of each name."""

from typing import Any

from unirouter_torch.config.training import MethodName
from unirouter_torch.evaluation.trials import Trial
from unirouter_torch.methods.kmeans import UniRouteKMeans
from unirouter_torch.methods.knn import KNearestNeighbors
from unirouter_torch.methods.oracle import Oracle
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.method import RoutingMethod
from unirouter_torch.training.end_to_end import EndToEnd


def build_method(name: MethodName, end_to_end: EndToEnd, trial: Trial) -> RoutingMethod[Any]:
    """The method of that name, not fitted yet.

    Args:
        name: Which method.
        end_to_end: The end-to-end router of the run.
        trial: The trial that it will be judged on; the references that know more than a router look into it.
    """
    match name:
        case "zero":
            return ZeroRouter()
        case "knn":
            return KNearestNeighbors()
        case "kmeans":
            return UniRouteKMeans()
        case "end_to_end":
            return end_to_end
        case "oracle":
            return Oracle(trial.test.error)
        case _:
            raise NotImplementedError(name)
