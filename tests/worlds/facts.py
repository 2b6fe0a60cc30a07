"""Facts as decisions see them, for tests without a store."""

from datetime import timedelta
from typing import Final

from models.decision.packed_grants import GrantFacts
from tests.worlds.world import NAMES, PURPOSE, START

NOW: Final = START
YESTERDAY: Final = NOW - timedelta(days=1)

#: A grant of a whole school, given yesterday, without an end.
GRANT: Final = GrantFacts(
    grant_id="of-the-school",
    client_id="rekenrijk",
    brin="16SW",
    location=None,
    scopes=frozenset(NAMES),
    purposes=frozenset({PURPOSE}),
    status="granted",
    valid_from=YESTERDAY,
    valid_until=None,
    suspended_until=None,
    reconfirm_by=None,
    granted_at_revision=5,
)
