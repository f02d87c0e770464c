"""A router in a minute, without training: the bundled one, and a hundred graded answers of each LLM.

python examples/adopt_trained_router.py

The outcomes here are simulated; put yours in their place. Half of the 200 prompts that the LLMs answered calibrate the
router, the other half show what it is worth.
"""

from unirouter_torch import Router
from unirouter_torch.data.load import load_table

table = load_table("simulated:200x6")
ids, llms = table.prompt_ids, table.llm_names
text = dict(zip(ids, table.prompt_texts, strict=True))
quality = {
    llm: {ids[row]: 1 - float(table.error[row, column]) for row in range(200)} for column, llm in enumerate(llms)
}
cost = dict(zip(llms, table.cost.value.tolist(), strict=True))
known, later = ids[:100], ids[100:]

router = Router.from_pretrained("unirouter-static")
router.calibrate(
    prompts={prompt: text[prompt] for prompt in known},
    scores={llm: {prompt: quality[llm][prompt] for prompt in known} for llm in llms},
    cost=cost,
)

print("cost weight   mean quality   mean cost [US dollars]")
for cost_weight in (0.0, 0.1, 0.5):
    routes = router.route([text[prompt] for prompt in later], cost_weight=cost_weight)
    chosen = [route.llm for route in routes]
    mean_quality = sum(quality[llm][prompt] for llm, prompt in zip(chosen, later, strict=True)) / len(later)
    print(f"{cost_weight:11.1f}   {mean_quality:12.3f}   {sum(cost[llm] for llm in chosen) / len(later):.6f}")
for llm in llms:
    alone = sum(quality[llm][prompt] for prompt in later) / len(later)
    print(f"{llm} alone: quality {alone:.3f}, cost {cost[llm]:.6f}")
