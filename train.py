"""``python train.py`` is ``unirouter train``."""

import sys

from unirouter_torch.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
