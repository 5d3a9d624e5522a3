"""`python -m gateway.simulate`."""

import argparse
import asyncio

from . import add_arguments, run
from .language import in_language

parser = argparse.ArgumentParser(
    prog="linli simulate", description=in_language("模拟邻里中心", "a simulated neighbourhood centre")
)
add_arguments(parser)
asyncio.run(run(parser.parse_args()))
