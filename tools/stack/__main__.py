"""Entry point of `python -m tools.stack`."""

import sys

from tools.stack.cli import main

sys.exit(main())
