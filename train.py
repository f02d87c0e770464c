"""Train, evaluate and save a router: ``python train.py --config configs/quickstart.yaml [--dotted.key value]``."""

import sys

from unirouter_torch.cli import train

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
