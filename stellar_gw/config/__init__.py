"""The configuration: one YAML file, as records with every default filled in."""

from stellar_gw.config.load import load_config, parse_config, records_directory, reload_config
from stellar_gw.config.records import (
    AgentConfig,
    Config,
    DigestAlgorithm,
    GatewayLimits,
    ListenerConfig,
    LogConfig,
    MediaConfig,
    RecordsConfig,
    SipConfig,
    TimersConfig,
)

__all__ = [
    "AgentConfig",
    "Config",
    "DigestAlgorithm",
    "GatewayLimits",
    "ListenerConfig",
    "LogConfig",
    "MediaConfig",
    "RecordsConfig",
    "SipConfig",
    "TimersConfig",
    "load_config",
    "parse_config",
    "records_directory",
    "reload_config",
]
