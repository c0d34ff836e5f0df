"""The ``stellar-gw`` command of twistd: ``twistd stellar-gw -c conf.yaml``."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from stellar_gw.config import load_config
from stellar_gw.config.addresses import own_addresses
from stellar_gw.errors import ConfigError
from stellar_gw.terminal import Palette


class Options(UsageOptions):
    """Command line of the gateway."""

    synopsis = "[--config FILE]"
    longdesc = "A telephony gateway: phone systems call it over SIP, AI voice agents answer."
    optParameters: Any = [
        ["config", "c", None, "The configuration file (YAML)."],
    ]

    def postOptions(self) -> None:
        if not self["config"]:
            raise UsageError("name a configuration file: stellar-gw -c conf.yaml")


def makeService(options: Options) -> IService:
    """Read the configuration, or say in one line each what is wrong with it and leave with status 1."""
    palette = Palette.of(sys.stderr)
    try:
        config = load_config(options["config"], os.environ, own_addresses)
    except ConfigError as error:
        sys.stderr.write("".join(f"{palette.red('error')} {problem}\n" for problem in error.problems))
        raise SystemExit(1) from None
    sys.stderr.write("".join(f"{palette.yellow('warning')} {warning}\n" for warning in config.warnings))
    from twisted.internet import reactor

    from stellar_gw.service import GatewayService

    return GatewayService(config, reactor=reactor, environ=os.environ)
