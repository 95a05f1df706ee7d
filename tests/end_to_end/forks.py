"""`denoise`, which says at its end whether it could fork each time it wanted to."""

import sys

from components.base import child, libraries
from pipeline import cli


def main() -> None:
    could = []
    beside = child.beside

    def noted(function, *arguments):
        could.append(f"{function.__name__}: {libraries.untouched()}")
        return beside(function, *arguments)

    child.beside = noted
    try:
        cli.main()
    finally:
        print(*could, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
