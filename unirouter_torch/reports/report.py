"""Results of one evaluation as JSON and as a Markdown table."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION
from unirouter_torch.metrics.figures import FIGURES, FigureOfMerit
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.reports.headline import doubt_of_run, headline_of_run
from unirouter_torch.reports.looks import HIGHLIGHTED, ORACLE
from unirouter_torch.reports.run_figures import draw_curves, thin_curve
from unirouter_torch.reports.tables import Cell, Table
from unirouter_torch.shapes import CostVector
from unirouter_torch.storage import write_atomically, write_json


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """How several routing methods did on one table, one split and one pool of LLMs.

    Attributes:
        table: What was evaluated on: ``name``, ``num_prompts``, ``num_llms``, ``observed_fraction``, ``content_hash``,
            ``cost_unit``, ``cost_rule`` (how the costs came about), ``is_estimate`` (whether they are estimates), and
            anything else that is JSON.
        split: How prompts and LLMs were split, as JSON.
        methods: Scores by the name of the method.
        llm_names: LLMs of the evaluated pool.
        llm_cost: Cost of one prompt for each of them [``cost_unit``].
        llm_quality: Mean quality of each of them alone, in [0, 1]; NaN without any outcome.
        best_llm: The best single one of them.
        num_test_prompts: Prompts that they were judged on.
        convention: How the curves were read.
        cost_weight: What the saved router takes by default to save what the headline says; None where it does not.
        unseen: The same methods on LLMs that training did not see, where that is a second part.
    """

    table: dict[str, Any]
    split: dict[str, Any]
    methods: dict[str, MethodScores]
    llm_names: list[str]
    llm_cost: CostVector
    llm_quality: Float[Tensor, " llm"]
    best_llm: str
    num_test_prompts: int
    convention: CurveConvention = DEFAULT_CONVENTION
    cost_weight: float | None = None
    unseen: "EvaluationReport | None" = None

    def title(self) -> str:
        """The table's name and whether the pool is the unseen LLMs or, where none were kept apart, all of them."""
        pool = "unseen LLMs" if len(self.llm_names) < self.table["num_llms"] else "all LLMs"
        return f"{self.table['name']}: {pool}"

    def headline(self) -> str:
        """What the end-to-end router saves, how sure that is, and whether simpler choices do as well."""
        if HIGHLIGHTED not in self.methods:
            return ""
        number = self.num_test_prompts
        parts = [
            headline_of_run(self.methods, HIGHLIGHTED, best_llm=self.best_llm, num_prompts=number),
            doubt_of_run(self.methods, HIGHLIGHTED, num_prompts=number),
        ]
        if self.cost_weight is not None:
            parts.append(f"Cost weight {self.cost_weight:.4g} gives it; the saved router takes it by default.")
        return " ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; a quality-neutral cost that is never reached is null, and so is NaN.

        Returns:
            ``table``, ``split``, ``headline``, ``methods`` (figures of merit by name), ``convention``, ``single_llms``
            and ``curves`` (at most 200 points each); ``cost_weight`` and ``unseen_llms`` where there are such.
        """
        singles = zip(self.llm_names, self.llm_cost.tolist(), self.llm_quality.tolist(), strict=True)
        found: dict[str, Any] = {
            "table": self.table,
            "split": self.split,
            "headline": self.headline(),
            "methods": {name: scores.figures for name, scores in self.methods.items()},
            "convention": asdict(self.convention),
            "single_llms": [
                {"name": name, "cost": cost, "quality": quality if quality == quality else None}
                for name, cost, quality in singles
            ],
            "curves": {
                name: {axis: values.tolist() for axis, values in thin_curve(scores.curve)._asdict().items()}
                for name, scores in self.methods.items()
            },
        }
        if self.cost_weight is not None:
            found["cost_weight"] = self.cost_weight
        if self.unseen is not None:
            found["unseen_llms"] = self.unseen.to_json()
        return found

    def to_markdown(self) -> str:
        """The headline, two tables with one row for each method (the best, the oracle apart, in bold), and notes."""
        lines = [f"# {self.title()}", "", *self._figures(), *self._notes()]
        if self.unseen is not None:
            number = len(self.unseen.llm_names)
            lines += ["", f"## {number} LLMs that training did not see", "", *self.unseen._figures()]
            lines.append(
                "- Trained once more without these LLMs, which are then known by "
                f"{self.unseen.split['num_calibration']:,} calibration prompts: what to expect of LLMs that join later."
            )
        return "\n".join(lines) + "\n"

    def _figures(self) -> list[str]:
        lines = [self.headline(), ""] if self.headline() else []
        for table in ("merit", "saving"):
            lines += [*self._table([figure for figure in FIGURES if figure.table == table]).to_markdown("---:"), ""]
        return lines

    def write(self, folder: Path) -> None:
        """Write ``results.json``, ``results.md`` and ``curves.png`` into ``folder``, each atomically."""
        write_json(folder / "results.json", self.to_json())
        write_atomically(folder / "results.md", self.to_markdown().encode("utf-8"))
        write_atomically(folder / "curves.png", draw_curves(self))

    def _table(self, figures: list[FigureOfMerit]) -> Table:
        best = {figure.key: self._best(figure) for figure in figures}
        rows = {}
        for name, scores in self.methods.items():
            texts = {figure.key: figure.print(scores.figures[figure.key]) for figure in figures}
            rows[display_name(name)] = tuple(
                Cell(text, is_best=name != ORACLE and text == best[key]) for key, text in texts.items()
            )
        return Table.plain([figure.head for figure in figures], rows)

    def _best(self, figure: FigureOfMerit) -> str | None:
        """The best value as printed, so that equal prints are equally bold; None when no method has one."""
        best = figure.best(scores.figures[figure.key] for name, scores in self.methods.items() if name != ORACLE)
        return None if best is None else figure.print(best)

    def _notes(self) -> list[str]:
        table, convention = self.table, self.convention
        estimated = " (estimated)" if table["is_estimate"] else ""
        axis = (
            "over the most expensive LLM's"
            if convention.cost_axis == "dearest"
            else "from the cheapest LLM (0) to the most expensive (1)"
        )
        return [
            f"- {table['num_prompts']:,} prompts, {table['num_llms']:,} LLMs, {table['observed_fraction']:.0%} of the "
            f"outcomes observed; {len(self.llm_names)} LLMs in the evaluated pool.",
            f"- Cost in {table['cost_unit']}{estimated}: {table['cost_rule']}.",
            f"- Relative cost: the cost {axis}; interpolation: {convention.interpolation}; left of the cheapest point: "
            f"{convention.left}.",
            "- QNC (quality-neutral cost): least relative cost at which the router is as good as the best single LLM.",
            f"- Table content: `{table['content_hash']}`.",
        ]
