"""Settings: environment variables that begin with `PRIVACY_MANAGER_`. The table is in `docs/settings.md`."""

from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.security.issuers import TrustedIssuer

#: An e-mail address, or empty.
ADDRESS: Final = r"^$|^[^@\s]+@[^@\s]+$"


class NotReadyToServe(Exception):
    """Why a process refuses to start, or a command to do its work, with these settings."""


class Mode(StrEnum):
    PRODUCTION = "production"
    DEMO = "demo"
    TEST = "test"


class Settings(BaseSettings):
    """The settings of a process. Raises `ValidationError` for an invalid one."""

    model_config = SettingsConfigDict(
        env_prefix="PRIVACY_MANAGER_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str = Field(
        default="",
        description="`sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://USER@HOST/NAME`; else a file in `VAR_DIR`.",
        pattern=r"^$|^(sqlite\+aiosqlite:///.+|postgresql\+asyncpg://.+)",
    )
    var_dir: Path = Field(default=Path("var"), description="Where files of this installation live.")
    mode: Mode | None = Field(
        default=None,
        description="`production`, `demo` or `test`. The embedded issuer works in the last two only.",
    )
    trusted_issuers: tuple[TrustedIssuer, ...] = Field(
        default=(),
        description="JSON list of {issuer, audience, jwksUrl, algorithms}; required in production.",
    )
    store_deadline: float = Field(
        default=0.2, gt=0, le=10, description="Seconds that a decision waits for the store before it denies."
    )
    expiry_interval: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Seconds between two looks for grants that have ended by time.",
    )

    decision_log: bool = Field(
        default=True, description="Whether each decision is stored as a line before it is answered."
    )

    decision_log_days: int = Field(
        default=400, ge=2, le=36_500, description="Days that a line of the decision log is kept; then it is deleted."
    )

    evidence_keys: Path | None = Field(
        default=None,
        description="The keys of the evidence, outside the store; else `evidence-keys.json` in `VAR_DIR`.",
    )

    known_checkpoint: Path | None = Field(
        default=None,
        description="Begins the name of the file with the newest checkpoint; else `known-checkpoint` in `VAR_DIR`.",
    )

    route_table: Path | None = Field(
        default=None,
        description="The file that says what a request through a gateway is about; without one, forward-auth denies.",
    )
    public_url: str = Field(
        default="",
        description="`https://HOST` or `https://HOST:PORT`, where gateways reach this service; its metadata names it.",
        pattern=r"^$|^https://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[1-9][0-9]{0,4})?$",
    )

    deliver: bool | None = Field(
        default=None,
        description="Whether a process that serves also delivers webhooks; else it does on SQLite, and not elsewhere.",
    )
    webhook_loopback: bool = Field(
        default=True, description="Whether a demo or a test sends webhooks to this machine, also without TLS."
    )

    caller_per_second: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Requests that one caller may make in a second to one process; twice as many at once.",
    )
    caller_at_once: int = Field(
        default=6,
        ge=1,
        le=10_000,
        description="Requests of one caller that are worked on at once in one process; others wait behind them.",
    )
    gateway_at_once: int = Field(
        default=512, ge=1, le=100_000, description="Decisions that one gateway may wait for at once, of one process."
    )
    failed_tokens_per_minute: int = Field(
        default=1200, ge=1, le=1_000_000, description="Tokens from one address that may turn out not to be valid."
    )

    applications_per_hour: int = Field(
        default=20, ge=1, le=1_000_000, description="Applications that one address may send in an hour, to one process."
    )
    applications_per_day: int = Field(
        default=1000, ge=1, le=1_000_000, description="Applications that are taken in within 24 hours, from anyone."
    )

    smtp_url: str = Field(
        default="",
        description="`smtps://HOST:465`, `smtp+starttls://HOST:587` or `smtp://HOST:25`: what takes e-mail.",
        pattern=r"^$|^smtp(s|\+starttls)?://[A-Za-z0-9.\[\]:-]+:[1-9][0-9]{0,4}$",
    )
    smtp_user: str = Field(default="", description="Who sends, where that server asks.")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="And its password.")
    mail_from: str = Field(default="", description="Who reminders are from; required with `SMTP_URL`.", pattern=ADDRESS)
    operator_email: str = Field(default="", description="Where operators get theirs.", pattern=ADDRESS)

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> "Settings":
        if self.smtp_url and not self.mail_from:
            raise ValueError("PRIVACY_MANAGER_SMTP_URL needs PRIVACY_MANAGER_MAIL_FROM")
        if self.smtp_url.startswith("smtp://") and self.smtp_user:
            raise ValueError(
                "PRIVACY_MANAGER_SMTP_USER needs smtps or smtp+starttls: a password is not sent in the clear"
            )
        return self

    @property
    def store_url(self) -> str:
        if self.database_url:
            return self.database_url
        from sqlalchemy.engine import URL  # imported for those who open the store: a token takes a second less

        path = str(self.var_dir.resolve() / "privacy-manager.db")
        return URL.create("sqlite+aiosqlite", database=path).render_as_string(hide_password=False)

    @property
    def known_checkpoint_file(self) -> Path:
        return self.known_checkpoint or self.var_dir / "known-checkpoint"

    @property
    def evidence_keys_file(self) -> Path:
        return self.evidence_keys or self.var_dir / "evidence-keys.json"

    @property
    def embeds_issuer(self) -> bool:
        """Whether this process accepts tokens of the embedded issuer: in demo and test mode only."""
        return self.mode in (Mode.DEMO, Mode.TEST)

    @property
    def delivers(self) -> bool:
        """Whether a serving process also delivers webhooks."""
        return self.store_url.startswith("sqlite") if self.deliver is None else self.deliver

    @property
    def sends_to_loopback(self) -> bool:
        """Whether webhooks may be sent to this machine: in demo and test mode only."""
        return self.embeds_issuer and self.webhook_loopback

    @property
    def issuer_key(self) -> Path:
        return self.var_dir / "embedded-issuer.jwk"


def explained(error: ValidationError) -> str:
    """The errors in the settings, a line for each variable, without values: one may be a password."""
    found = (
        f"PRIVACY_MANAGER_{'.'.join(str(part) for part in each['loc']).upper()}: {each['msg']}"
        for each in error.errors()
    )
    return "\n".join(["the settings are not valid", *found])
