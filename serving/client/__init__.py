"""The client: images to any TF Serving, and back without their noise.

from serving import DenoiseClient

with DenoiseClient("grpc://localhost:8500") as client:
    denoised = client.denoise(noisy)
"""

from serving.client.clients import AsyncDenoiseClient, DenoiseClient
from serving.client.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ServerError,
    UnavailableError,
)
from serving.client.target import Tls, VersionStatus

__all__ = [
    "AsyncDenoiseClient",
    "ClientError",
    "DeadlineError",
    "DenoiseClient",
    "InvalidRequestError",
    "ModelNotFoundError",
    "OverloadedError",
    "ServerError",
    "Tls",
    "UnavailableError",
    "VersionStatus",
]
