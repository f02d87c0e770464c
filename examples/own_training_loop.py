"""The head of a router trained by Lightning's own Trainer, for those who bring their own callbacks, loggers or loop.

python examples/own_training_loop.py [TABLE] [--steps N] [--output DIR]

`unirouter train` does all of this and more. Everything after `trainer =` is Lightning as anywhere else.
"""

import argparse

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from unirouter_torch import Router, TrainConfig
from unirouter_torch.config.training import DataConfig, EncoderConfig, TrainerConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.embedded_table import embed_table, load_encoder
from unirouter_torch.methods.trial import build_trial
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.training.episodes import EpisodeDataset
from unirouter_torch.training.head_training import warm_start
from unirouter_torch.training.module import DECIDING_LOSS, RouterModule
from unirouter_torch.training.validation import validation_set

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("table", nargs="?", default="simulated:600x12", help="as data.path of a recipe")
parser.add_argument("--steps", type=int, default=60, help="training steps")
parser.add_argument("--output", default="runs/own_training_loop", help="folder to write")
options = parser.parse_args()

config = TrainConfig(
    data=DataConfig(path=options.table, unseen_fraction=0.25, num_calibration=50),
    encoder=EncoderConfig(name="unirouter-static"),
    trainer=TrainerConfig(max_steps=options.steps),
)
encoder = load_encoder(config)
embedded = embed_table(config, encoder)
table = embedded.table
split = split_table(table, seed=0, unseen_fraction=config.data.unseen_fraction)
trial = build_trial(table, embedded.embedding, split, config, seed=0, form_dim=embedded.form_dim)

# what is trained, on what, and what the loss is watched on
head = warm_start(trial.tuning.centroids(20), config, embedded.form_dim)
num_prompts, num_llms = trial.train.error.shape
episodes = EpisodeDataset(
    num_prompts=num_prompts, num_llms=num_llms, num_episodes=options.steps, config=config.episodes, seed=0
)
watched = validation_set(
    "training_llms", trial.train, trial.tuning.validation, trial.tuning.cost, num_calibration=50, seed=0
)
module = RouterModule(head, [trial.train], [watched], config, with_curves=False)

best = ModelCheckpoint(dirpath=options.output, filename="best", monitor=DECIDING_LOSS, save_weights_only=True)
trainer = Trainer(
    max_steps=options.steps,
    accelerator="cpu",
    logger=False,
    callbacks=[best, EarlyStopping(DECIDING_LOSS, patience=5)],
    val_check_interval=10,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, DataLoader(episodes, batch_size=None), DataLoader(watched.episodes, batch_size=None))
module.load_state_dict(trainer.strategy.load_checkpoint(best.best_model_path, weights_only=True)["state_dict"])

# the head and the LLMs that training never saw, as a router
nothing = CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=head.linear.weight.new_zeros(0, 20))
router = Router(encoder=encoder, head=head.eval(), pool=LLMPool.empty(head.num_clusters), calibration=nothing, about={})
known = trial.calibration_prompts.tolist()
unseen = {table.llm_names[column]: column for column in split.unseen_llms.tolist()}
router.calibrate(
    prompts={table.prompt_ids[row]: table.prompt_texts[row] for row in known},
    scores={
        llm: {table.prompt_ids[row]: 1 - float(table.error[row, at]) for row in known} for llm, at in unseen.items()
    },
    cost={llm: float(table.cost.value[at]) for llm, at in unseen.items()},
)
router.save_pretrained(f"{options.output}/router")
print(f"step {trainer.global_step}, validation loss {float(best.best_model_score):.4f}: {options.output}/router")
for route in router.route(["What is 17 + 25?", "Write a haiku about the sea."], cost_weight=0.1):
    print(route.llm, f"{route.estimated_error[route.llm]:.2f}")
