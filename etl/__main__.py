"""`python -m etl` is the command `posthog-etl`."""

from etl.cli import main

if __name__ == "__main__":
    main()
