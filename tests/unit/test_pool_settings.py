"""What the media workers are told of the configuration."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.service import pool_settings
from tests.configurations import configuration


class PoolSettingsTests(SynchronousTestCase):
    def test_from_the_configuration(self) -> None:
        """Ports, addresses and times come from the file."""
        config = configuration()
        config = evolve(
            config,
            media=evolve(config.media, ports=(20000, 20099), bind="127.0.0.1", workers=3, dscp=0, quarantine=1.0),
            timers=evolve(config.timers, no_media=12.0, no_media_on_hold=90.0),
        )
        settings = pool_settings(config, "/run/stellar-gw")
        self.assertEqual(
            (
                settings.workers,
                settings.ports,
                settings.bind,
                settings.dscp,
                settings.quarantine,
                settings.no_media,
                settings.no_media_on_hold,
                settings.socket,
            ),
            (3, (20000, 20100), ("127.0.0.1",), 0, 1.0, 12.0, 90.0, "/run/stellar-gw/workers.sock"),
        )

    def test_hung_worker(self) -> None:
        """Whatever moment a worker hangs at, it is found within 2 s."""
        settings = pool_settings(configuration(), "/run/stellar-gw")
        self.assertLessEqual(settings.ping_interval + settings.ping_timeout, 2.0)
