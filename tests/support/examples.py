"""How many cases the pure properties are tried with.

PROPERTY_EXAMPLES asks for more: `make proof` tries 10,000 of each.
"""

import os

from hypothesis import settings

_EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "300"))

MANY = settings(max_examples=_EXAMPLES)
# Those in which a single case walks through a whole list.
LONG = settings(max_examples=max(100, _EXAMPLES // 4))
