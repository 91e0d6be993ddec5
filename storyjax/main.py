"""`python -m storyjax.main --config=configs/X.py[:variant] --workdir=DIR`: train and evaluate."""

import sys

from storyjax.configuration import load_config, override
from storyjax.errors import StoryjaxError


def main(argv: list[str] | None = None) -> int:
    arguments = dict(a.removeprefix("--").split("=", 1) for a in (sys.argv[1:] if argv is None else argv))
    try:
        from storyjax.train.loop import run
        from storyjax.train.settings import complete

        config = complete(load_config(arguments.pop("config")))
        workdir, mode = arguments.pop("workdir"), arguments.pop("mode", "train")
        for key, text in arguments.items():
            override(config, key.removeprefix("config."), text)
        run(config, workdir, mode)
    except StoryjaxError as error:
        print(f"storyjax: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
