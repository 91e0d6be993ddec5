"""`storyjax app`: a story in the browser; the work is done by `storyjax/app/`."""

import argparse
import os
from pathlib import Path

from storyjax.core.errors import StoryjaxError

APP = """\
Opens a story in the browser: the films with names drawn over the picture, who is seen and who speaks when, what is
said, a search, questions, and corrections, which stay through every re-run and teach the gallery.

  storyjax app story
  storyjax app story --gallery runs/gallery --port 9000 --no-open

Only this machine reaches it. For others give an address, and a token that they log in with; what they see then
goes over the network as it is, so use it in a network that you trust, or through an SSH tunnel:

  storyjax app story --host 0.0.0.0 --token new

Needs starlette and uvicorn: pip install 'storyjax[app]'. Nothing is loaded from elsewhere.
"""


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parser to `commands`, and to `made` by name."""
    parser = made["app"] = commands.add_parser("app", description=APP)
    parser.add_argument("story", metavar="DIR", help="the folder that 'storyjax story --out DIR' made")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="its port (default: the first free one from 8765)")
    parser.add_argument(
        "--token",
        default=os.environ.get("STORYJAX_TOKEN") or None,
        metavar="TOKEN",
        help="what has to be given to log in, 12 characters or more; new draws one (default: STORYJAX_TOKEN)",
    )
    parser.add_argument(
        "--gallery",
        metavar="DIR",
        help="the gallery that corrections go into (default: the story's, else runs/gallery)",
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the browser is opened (default: yes)",
    )
    parser.set_defaults(act=_app)


def _app(arguments: argparse.Namespace) -> int:
    from storyjax.app.serve import serve

    if arguments.port is not None and not 0 <= arguments.port < 65536:
        raise StoryjaxError(f"--port {arguments.port} is no port: give 1 to 65535")
    serve(
        Path(arguments.story),
        Path(arguments.gallery) if arguments.gallery else None,
        host=arguments.host,
        port=arguments.port,
        token=arguments.token,
        browser=arguments.open,
    )
    return 0
