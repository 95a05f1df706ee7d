"""`denoise`, which says at its end whether it could fork each time it wanted to."""

import sys

from components.base import child, libraries
from pipeline import cli


def main() -> None:
    could = []

    class Noted(child.Beside):
        def __init__(self, function, *arguments):
            could.append(f"{function.__name__}: {libraries.untouched()}")
            super().__init__(function, *arguments)

    child.Beside = Noted
    try:
        cli.main()
    finally:
        print(*could, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
