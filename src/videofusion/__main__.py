"""`python -m videofusion` is the command `videofusion`."""

import sys

from videofusion.cli import main

sys.exit(main())
