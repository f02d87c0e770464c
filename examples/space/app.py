"""A router to try: the choice for a prompt, the estimates behind it, and the curve of quality against cost.

The variable ROUTER names a folder or a hub id; without it a demonstration router over three invented LLMs is shown.
"""

import os

import gradio as gr
import pandas as pd

from unirouter_torch import Router
from unirouter_torch.metrics.expected import expect

COST = {"small": 0.0001, "medium": 0.0006, "large": 0.004}
EXAMPLES = ["Which river runs through Basel?", "A train travels 84 km/h. How far in 3 hours?", "Where is the Nile?"]
NUM_POINTS = 60


def demonstration() -> Router:
    """The bundled router; ``small`` knows rivers, ``medium`` half of arithmetic too, and ``large`` all of it."""
    rivers = [f"Which river has {n} bridges?" for n in range(50)]
    apples = [f"I eat 3 of {n} apples. How many are left?" for n in range(50)]
    right = {"small": rivers, "medium": rivers + apples[::2], "large": rivers + apples}
    prompts = {text: text for text in rivers + apples}
    router = Router.from_pretrained("unirouter-static")
    router.calibrate(prompts, {llm: {text: float(text in right[llm]) for text in prompts} for llm in right}, COST)
    return router


router = Router.from_pretrained(os.environ["ROUTER"]) if "ROUTER" in os.environ else demonstration()


def curve() -> pd.DataFrame:
    """Expected quality against expected cost over the calibration prompts, and every LLM alone."""
    found = expect(router.chooser(), router.calibration)
    step = max(1, len(found.curve.cost) // NUM_POINTS)
    points = zip(found.curve.cost[::step].tolist(), found.curve.quality[::step].tolist(), strict=True)
    alone = zip(router.pool.names, found.llm_cost.tolist(), found.llm_quality.tolist(), strict=True)
    return pd.DataFrame([("router", *point) for point in points] + list(alone), columns=["who", "cost", "quality"])


def route(prompt: str, cost_weight: float) -> tuple[str, pd.DataFrame]:
    """The LLM that is chosen, and what is estimated of each, the best first."""
    (found,) = router.route([prompt], float(cost_weight))
    table = pd.DataFrame({"estimated error": found.estimated_error, "cost": found.cost})
    table["total"] = table["estimated error"] + cost_weight * table["cost"] / router.pool.reference_cost
    return f"## {found.llm}", table.sort_values("total").round(5).reset_index(names="LLM")


with gr.Blocks(title="unirouter_torch", analytics_enabled=False) as demo:
    gr.Markdown("# Which LLM should answer?\nThe one with the smallest estimated error plus weighted cost.")
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(EXAMPLES[0], label="Prompt", lines=3)
            cost_weight = gr.Slider(0, 1, 0.1, step=0.05, label="Cost weight", info="0 asks for quality alone")
            gr.Examples(EXAMPLES, prompt)
        with gr.Column():
            chosen = gr.Markdown(elem_id="chosen")
            estimates = gr.Dataframe(label=f"Cost in {router.pool.cost_unit}", elem_id="estimates", interactive=False)
    gr.ScatterPlot(
        curve, x="cost", y="quality", color="who", label="What the router is expected to do", elem_id="curve"
    )
    gr.on([demo.load, prompt.change, cost_weight.change], route, [prompt, cost_weight], [chosen, estimates])

if __name__ == "__main__":
    demo.launch()
