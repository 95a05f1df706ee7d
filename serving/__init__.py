"""Serving: the signatures of a servable, the embedded model server, and the client.

`from serving import DenoiseClient` imports neither TensorFlow nor the rest of the project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client import AsyncDenoiseClient, DenoiseClient

__all__ = ["AsyncDenoiseClient", "DenoiseClient"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from serving import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
