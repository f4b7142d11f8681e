"""`python -m sealift` is the console script."""

from sealift.cli.main import main

if __name__ == "__main__":
    main()
