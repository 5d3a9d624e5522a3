"""`python -m gateway.cli`."""

import sys

from . import main

sys.exit(main())
