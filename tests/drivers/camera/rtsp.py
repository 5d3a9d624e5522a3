"""An IP camera: an RTSP server that sends Motion JPEG on the TCP connection (RFC 2326, RFC 2435)."""

from __future__ import annotations

import base64
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 15
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n"
    f"a=control:track0\r\na=framerate:{FPS}\r\n"
)
PACKET = 1400


class IpCamera:
    """Shows frames again and again. `login`: user:password that it asks for, by HTTP Basic. `silent`: it
    takes connections, and never says a word. `seconds`: it breaks off after so long."""

    def __init__(
        self,
        frames: list[NDArray[np.uint8]],
        login: str = "",
        silent: bool = False,
        seconds: float = float("inf"),
    ) -> None:
        self._shots = [_shot(frame) for frame in frames]
        self._login = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        self._silent = silent
        self._seconds = seconds
        self._flows = threading.Event()
        self._flows.set()
        self._connections: list[socket.socket] = []
        self.refused = 0
        """Requests without the right login."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        self.url = f"rtsp://{self.address}/live"
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self, stalled: bool = True) -> None:
        """The stream stands still, and the connection stays."""
        (self._flows.clear if stalled else self._flows.set)()

    def cut(self) -> None:
        """All who look are cut off."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if self._silent:
                connection.close()

    def close(self) -> None:
        """The camera is gone."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._flows.set()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._connections.append(connection)
                if not self._silent:
                    threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            while request := list(iter(lambda: lines.readline().decode().strip(), "")):
                method, url, _ = request[0].split()
                headers = dict(re.split(": ?", line, maxsplit=1) for line in request[1:])
                head, body = {"CSeq": headers["CSeq"]}, ""
                status = "200 OK"
                if self._login and headers.get("Authorization") != self._login:
                    status, head["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="camera"'
                    self.refused += 1
                elif method == "OPTIONS":
                    head["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
                elif method == "DESCRIBE":
                    head |= {"Content-Type": "application/sdp", "Content-Base": f"{url}/"}
                    body = SDP
                elif method == "SETUP":
                    head |= {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
                else:
                    head["Session"] = "1"
                head["Content-Length"] = str(len(body))
                text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                connection.sendall(f"RTSP/1.0 {status}\r\n{text}\r\n{body}".encode())
                if method == "PLAY" and status == "200 OK":
                    threading.Thread(target=self._play, args=[connection], daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        number = itertools.count()
        with suppress(OSError):
            for shown, shot in enumerate(itertools.cycle(self._shots)):
                self._flows.wait()
                if shown > self._seconds * FPS:
                    connection.shutdown(socket.SHUT_RDWR)
                for last, payload in shot:
                    kind, stamp = 26 | last << 7, shown * 90_000 // FPS % 2**32
                    packet = struct.pack(">BBHII", 0x80, kind, next(number) % 2**16, stamp, 7) + payload
                    connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                time.sleep(1 / FPS)


def _shot(frame: NDArray[np.uint8]) -> list[tuple[bool, bytes]]:
    """A frame as payloads of RTP, each with its marker."""
    good, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert good
    jpeg = data.tobytes()
    tables, place = b"", 2
    while jpeg[place + 1] != 0xDA:
        size = int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if jpeg[place + 1] == 0xDB:
            tables += b"".join(part[1:] for part in _split(jpeg[place + 4 : place + 2 + size], 65))
        place += 2 + size
    scan = jpeg[place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big") : -2]
    height, width = frame.shape[:2]
    payloads, offset = [], 0
    for piece in _split(scan, PACKET):
        header = struct.pack(">IBBBB", offset, 1, 255, width // 8, height // 8)
        if offset == 0:
            header += struct.pack(">BBH", 0, 0, len(tables)) + tables
        offset += len(piece)
        payloads.append((offset == len(scan), header + piece))
    return payloads


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
