"""`denoise pretrained`: the models that come with this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands import options
from pipeline.commands.session import answer

if TYPE_CHECKING:
    import rich.console

    from components.pretrained.card import Card


def pretrained(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, or a kept .keras file.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the models that come with this package, or show the card of one.

    `--pretrained NAME` of other commands takes them.

    Example: `denoise pretrained`, or `denoise pretrained clothes.keras`.
    """
    from components.pretrained import kept

    cards = [kept.find(each).card for each in ([name] if name else kept.names())]
    answer(
        cards[0] if name else cards,
        as_json,
        show=lambda console: _show_card(cards[0], console) if name else _show(cards, console),
    )


def _show(cards: list[Card], console: rich.console.Console) -> None:
    import rich.box
    import rich.table

    if not cards:
        console.print("No model comes with this version. `denoise keep` makes one of a run.")
        return
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in ("name", "images", "parameters", "noise", "PSNR, dB", "noisy", "data"):
        right = column in ("parameters", "PSNR, dB", "noisy")
        table.add_column(column, justify="right" if right else "left")
    for card in cards:
        table.add_row(
            card.name,
            "grey" if card.image.channels == 1 else "colour",
            f"{card.parameters:,}",
            "\n".join(figures.noise for figures in card.figures),
            "\n".join(f"{figures.psnr:.2f}" for figures in card.figures),
            "\n".join(f"{figures.noisy_psnr:.2f}" for figures in card.figures),
            f"{card.data.name}; {card.data.licence}",
        )
    console.print(table)


def _show_card(card: Card, console: rich.console.Console) -> None:
    from components.pretrained.card import text

    console.print(text(card), markup=False, highlight=False, soft_wrap=True)
