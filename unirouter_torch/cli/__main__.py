"""``python -m unirouter_torch.cli`` is ``unirouter``."""

import sys

from unirouter_torch.cli import main

sys.exit(main())
