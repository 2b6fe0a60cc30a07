"""The fixed sentences of a register of processing, in the two languages of its documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.consents.partners import RecipientRole


@dataclass(frozen=True, slots=True)
class Bilingual:
    """A sentence of the register in Dutch and English."""

    nl: str
    en: str


#: The ground on which the recipient receives the data, by its role. It is never the data subjects' consent.
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
#: The start of a retention period: the end of the processing services (art. 28(3)(g)). For a school they end with its
#: grant, or sooner with its agreement, since nobody may process for it without one.
RETENTION: Final = Bilingual(
    "Een bewaartermijn telt vanaf het einde van de verwerking voor de school (AVG art. 28 lid 3 onder g): dat van de"
    " toestemming, of dat van de overeenkomst als die eerder eindigt en er geen andere voor in de plaats komt.",
    "Retention counts from the end of the processing for the school (GDPR art. 28(3)(g)): that of the grant, or that of"
    " the agreement where it ends sooner and no other takes its place.",
)
#: The note on the board where the log names it. The log holds the numbers of boards and their schools, no names.
BOARD_OF_THEN: Final = Bilingual(
    "Het bestuur is dat van de genoemde stand; zijn naam is die van het moment van opmaken, want het logboek kent"
    " alleen zijn nummer.",
    "The board is that of the named instant; its name is that of when this was drawn up, since the log knows its number"
    " alone.",
)
#: The note on the board where the log does not name it.
BOARD_OF_NOW: Final = Bilingual(
    "Het logboek zegt niet onder welk bestuur de school bij de genoemde stand viel; dit is dat van het moment van"
    " opmaken.",
    "The log does not tell under which board the school was at the named instant; this is that of when this was drawn"
    " up.",
)
SECURITY: Final = Bilingual(
    "Zie de bijlage over beveiliging bij de verwerkersovereenkomst.",
    "See the annex on security of the processing agreement.",
)
#: Data subjects by type of scope. Scopes of the other types are about the school itself.
DATA_SUBJECTS: Final[Mapping[str, Bilingual]] = {
    "leerling": Bilingual("leerlingen", "pupils"),
    "docent": Bilingual("docenten", "teachers"),
}
