"""A saved router as an MLflow model, by models from code: no pickle is written. docs/how_to/integrations.md logs it."""

from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

from unirouter_torch import Router


class RouterModel(PythonModel):
    """Prompts in; for each the LLM that the router chooses, its estimated error and its cost."""

    def load_context(self, context: PythonModelContext) -> None:
        self.router = Router.from_pretrained(context.artifacts["router"])

    def predict(self, model_input: list[str], params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        routes = self.router.route(model_input, **(params or {}))
        return [
            {"llm": route.llm, "estimated_error": route.estimated_error[route.llm], "cost": route.cost[route.llm]}
            for route in routes
        ]


mlflow.models.set_model(RouterModel())
