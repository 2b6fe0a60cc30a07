"""What a register of processing says of every processing, in the two languages of its documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.partners import RecipientRole


@dataclass(frozen=True, slots=True)
class Bilingual:
    """A sentence of the register, as it stands in its documents."""

    nl: str
    en: str


#: On what the recipient receives the data. It is never the data subjects' consent.
INSTRUCTION: Final[Mapping[str, Bilingual]] = {
    RecipientRole.PROCESSOR: Bilingual(
        "Instructie van de school als verwerkingsverantwoordelijke aan haar verwerker, onder de verwerkersovereenkomst"
        " (AVG art. 28 lid 3 onder a). Het is geen toestemming van betrokkenen.",
        "Instruction of the school as controller to its processor, under the processing agreement (GDPR art. 28(3)(a))."
        " It is not the data subjects' consent.",
    ),
    RecipientRole.CONTROLLER: Bilingual(
        "Besluit van de school als verwerkingsverantwoordelijke om gegevens te verstrekken aan een ontvanger die zelf"
        " verwerkingsverantwoordelijke is (AVG art. 4 onder 9). Het is geen toestemming van betrokkenen.",
        "Decision of the school as controller to disclose data to a recipient that is a controller itself"
        " (GDPR art. 4(9)). It is not the data subjects' consent.",
    ),
}
BY_THE_SCHOOL: Final = Bilingual("door de school in te vullen", "to be stated by the school")
SECURITY: Final = Bilingual(
    "Zie de bijlage over beveiliging bij de verwerkersovereenkomst.",
    "See the annex on security of the processing agreement.",
)
#: Whose data the scopes of a type are. The other types are about the school itself.
DATA_SUBJECTS: Final[Mapping[str, Bilingual]] = {
    "leerling": Bilingual("leerlingen", "pupils"),
    "docent": Bilingual("docenten", "teachers"),
}
