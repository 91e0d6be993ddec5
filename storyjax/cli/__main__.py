"""`python -m storyjax.cli`: the `storyjax` command where it is not on the PATH."""

from storyjax.cli.main import main

if __name__ == "__main__":
    main()
