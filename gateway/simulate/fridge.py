"""The fridge thermometer: JSON over MQTT every few seconds, while there is a broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from .centre import Centre
from .faults import Faults

TOPIC = "centre/sensors/fridge-1"
PUBLISH_INTERVAL_S = 5.0


async def publish(broker: tuple[str, int], centre: Callable[[], Centre], faults: Faults) -> None:
    """Publish until cancelled; readings without a broker are lost, as with a real sensor."""
    loop = asyncio.get_running_loop()
    connected = asyncio.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.reconnect_delay_set(1, 5)

    def on_connect(_client: object, _data: object, _flags: object, reason: ReasonCode, _: object) -> None:
        if not reason.is_failure:
            loop.call_soon_threadsafe(connected.set)

    def on_disconnect(*_: object) -> None:
        loop.call_soon_threadsafe(connected.clear)

    client.on_connect, client.on_disconnect = on_connect, on_disconnect
    client.connect_async(*broker)
    client.loop_start()
    try:
        while True:
            await connected.wait()
            if faults.reply_delay_s("mqtt", 1) is not None:
                client.publish(TOPIC, json.dumps(asdict(centre().fridge)), qos=1)
            await asyncio.sleep(PUBLISH_INTERVAL_S)
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
