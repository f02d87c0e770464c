"""Make a router over two invented LLMs: ``small`` is right about rivers, ``large`` about everything.

python examples/compose/make_router.py FOLDER
"""

import sys

from unirouter_torch import Router

rivers = [f"Which river has {n} bridges?" for n in range(50)]
apples = [f"I eat 3 of {n} apples. How many are left?" for n in range(50)]
prompts = {text: text for text in rivers + apples}
scores = {"small": {text: float(text in rivers) for text in prompts}, "large": dict.fromkeys(prompts, 1.0)}

router = Router.from_pretrained("unirouter-static")
router.calibrate(prompts, scores, cost={"small": 0.0001, "large": 0.002})
router.save_pretrained(sys.argv[1])
