"""Characters that a reader does not see as such."""

import re
from typing import Final

#: What begins another line or column.
BREAKS: Final = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: By their categories: spaces, controls and marks of format.
UNSEEN: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
