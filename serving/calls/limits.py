"""How much one request may ask for, whatever it is sent in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from serving.protocol.codes import Code, StatusError, invalid_argument


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one request."""

    rows: int
    """Size of the first dimension of an input, or number of tf.Examples."""
    bytes: int
    """Of its inputs' arrays."""

    def check(self, shapes: Mapping[str, tuple[int, ...]], size: int) -> None:
        """That inputs are no larger.

        Args:
          shapes: By alias.
          size: Bytes that the arrays take together.

        Raises:
          StatusError: INVALID_ARGUMENT for rows, as the batching session has it,
            RESOURCE_EXHAUSTED for bytes, as gRPC has it.
        """
        rows = max((shape[0] for shape in shapes.values() if shape), default=1)
        if rows > self.rows:
            raise too_many_rows(rows, self.rows)
        if size > self.bytes:
            described = ", ".join(f"{alias} {list(shape)}" for alias, shape in shapes.items())
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"Inputs of {size} bytes are larger than max ({self.bytes} bytes, "
                f"--max_message_bytes): {described}",
            )


NO_LIMITS = Limits(2**63, 2**63)


def too_many_rows(rows: int, most: int) -> StatusError:
    """The batching session's words, for a limit that holds without batching too."""
    return invalid_argument(
        f"Task size {rows} is larger than maximum input batch size {most} (--max_request_rows)"
    )
