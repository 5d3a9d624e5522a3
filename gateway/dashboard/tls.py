"""TLS of the pages, with the owner's certificate or one of the local authority."""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl

from gateway.base.files import file_state
from gateway.base.log import error_text, log_event
from gateway.model import ConfigError
from gateway.web.certificates import LocalAuthority, Pair, check_pair, own_addresses, own_host
from gateway.web.settings import Settings


class ServerTls:
    """The context of new connections."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigError`: there is no usable certificate."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority = LocalAuthority(settings.access) if settings.local_ca else None
        if self._authority:
            self._pair = self._authority.pair
        else:
            assert settings.certificate_file
            assert settings.private_key_file
            self._pair = Pair(settings.certificate_file, settings.private_key_file)
        self._state: tuple[tuple[int, ...], ...] = ()
        self._renew()
        self._load()

    async def follow(self) -> None:
        """Renew the certificate if need be, and use what is in the files now; what cannot be used leaves
        everything as it was."""
        try:
            await asyncio.to_thread(self._renew)
            self._load()
        except ConfigError as error:
            if self._state != (state := self._file_states()):
                self._state = state
                reason = error_text(error.key, **error.facts)
                log_event(logging.ERROR, "certificate-refused", reason=reason)

    def _renew(self) -> None:
        if self._authority:
            self._authority.renew(own_host(), own_addresses(), datetime.datetime.now(datetime.UTC))

    def _file_states(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(file_state, self._pair))

    def _load(self) -> None:
        if self._state == (state := self._file_states()):
            return
        check_pair(self._pair)
        try:
            self.context.load_cert_chain(*self._pair)
        except ssl.SSLError as error:
            raise ConfigError("certificate-invalid", file=self._pair.certificate) from error
        log_event(logging.INFO, "certificate-loaded", file=self._pair.certificate)
        self._state = state
