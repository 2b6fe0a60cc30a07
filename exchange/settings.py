"""Settings of the release layer: environment variables that begin with `PRIVACY_MANAGER_EXCHANGE_`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from exchange.partners import Customers


class ExchangeSettings(BaseSettings):
    """The settings of the release layer. Raises `ValidationError` for an invalid one."""

    model_config = SettingsConfigDict(
        env_prefix="PRIVACY_MANAGER_EXCHANGE_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    upstream: str = Field(default="", pattern=r"^https?://[^\s]+$", description="The LAS's UWLR-L endpoint.")
    manager: str = Field(default="", pattern=r"^https?://[^\s?#]+$", description="The privacy manager.")
    token: str = Field(default="", repr=False, description="Its access token, with the role gateway.")
    token_file: Path | None = Field(default=None, description="A file with that token, read anew for each request.")
    credentials: Path | None = Field(default=None, description="The file of who may send which autorisatie.")
    trust_client_id: bool = Field(
        default=False,
        description="Whether a gateway in front sets X-Partner-Client-Id, and takes it away from what clients send.",
    )
    manager_deadline: float = Field(default=2.0, gt=0, le=60, description="Seconds that an answer of it may take.")
    upstream_deadline: float = Field(default=60.0, gt=0, le=3600, description="Seconds that the LAS may be silent.")
    transfer_deadline: float = Field(default=900.0, gt=0, le=86_400, description="Seconds for a whole answer.")
    most_megabytes: int = Field(default=256, gt=0, le=100_000, description="How large an answer may be.")
    most_transfers: int = Field(default=32, gt=0, le=10_000, description="How many answers are taken in at once.")


def require_usable(settings: ExchangeSettings) -> None:
    """Raises `ValueError` for settings with which every request would be refused."""
    if not (settings.token or settings.token_file):
        raise ValueError("the release layer needs an access token: PRIVACY_MANAGER_EXCHANGE_TOKEN_FILE or ..._TOKEN")
    Customers.read(settings.credentials)
