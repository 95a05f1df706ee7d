"""A picture from a file to a file as it is: its size, depth, colour and transparency.

`reader` makes of every file what a model of one kind learns from; here a picture is denoised for
somebody who wants it back.

| in the file                         | pixels                                | written as       |
|-------------------------------------|---------------------------------------|------------------|
| 8 bits, 1 bit                       | uint8                                 | PNG of 8 bits    |
| 12 or 16 bits, grey or RGB          | uint16, 0 black, 65535 white          | PNG of 16 bits   |
| floats (grey TIFF, 0.0 to 1.0)      | float32                               | TIFF of floats   |
| grey, with or without transparency  | one channel                           | the same         |
| RGB, palette, CMYK, YCbCr           | three channels; a palette of grey one | the same, or RGB |
| transparency                        | a channel of its own, left as it is   | the same         |
| EXIF orientation                    | turned as a viewer shows it           | turned           |
| several frames or pages             | the first one; noted                  | one              |
| a colour profile (ICC) of grey, RGB | not applied                           | the same         |

What cannot be read rightly is refused by name, as `reader` does.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from components.base.files import shown
from components.image.reader import frames, layout_of, opened, turn

if TYPE_CHECKING:
    from PIL.Image import Image

_DEEP_COLOUR = ("RGB;16", "RGBX;16", "RGBA;16", "LA;16")
"""Layouts of Pillow that it reduces to 8 bits by leaving out each value's lower byte."""
_OTHER_DEEP_COLOUR = ("RGBa;16", "CMYK;16")
"""Others, which it also converts."""
_MOST = 65535
# Tags and a value of TIFF 6.0, section 8.
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC_INTERPRETATION = 262
_WHITE_IS_ZERO = 0


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a file shows."""

    pixels: np.ndarray
    """(H, W, 1) grey or (H, W, 3) RGB: uint8, uint16, or float32 in [0, 1]."""
    alpha: np.ndarray | None = None
    """How opaque each pixel is: (H, W, 1) of the same dtype; None: all are."""
    profile: bytes | None = None
    """The ICC profile of the colours."""
    notes: tuple[str, ...] = ()
    """What was not taken from the file as it is, for people."""

    @property
    def suffix(self) -> str:
        """How the name of its file ends."""
        return ".tif" if self.pixels.dtype.kind == "f" else ".png"


def read_picture(path: str | os.PathLike[str], content: bytes | None = None) -> Picture:
    """Reads an image file.

    Args:
      path: A PNG, JPEG, TIFF, WebP, BMP or GIF, whatever its name ends in.
      content: What it holds, where it is not on this machine.

    Raises:
      DataError: it is not such an image or cannot be read rightly; names the file and what was
        found.
    """
    name = shown(path)

    def source() -> Any:
        return path if content is None else io.BytesIO(content)

    with opened(source(), name) as image:
        notes, kind, tags = frames(image), image.format, getattr(image, "tag_v2", {})
        if _has_layout(image, _OTHER_DEEP_COLOUR):
            raise ValueError(
                "16 bits in CMYK or with premultiplied alpha: convert them to RGB first"
            )
        if _has_layout(image, _DEEP_COLOUR):
            with opened(source(), name) as again:
                pixels, alpha = _deep_colour(image, again)
        else:
            turn(image)
            if image.mode == "F" or image.mode.startswith("I"):
                pixels, alpha = _deep_grey(image, kind, tags)
            else:
                pixels, alpha = _eight_bits(image)
        profile = image.info.get("icc_profile")
        # One of CMYK says nothing of the RGB it was made into, nor one of RGB of a grey palette.
        kind_of_colours = b"GRAY" if pixels.shape[-1] == 1 else b"RGB "
        if profile and profile[16:20] != kind_of_colours:  # ICC.1:2022, 7.2
            profile = None
    return Picture(pixels, alpha, profile, notes)


def _deep_grey(image: Image, kind: str | None, tags: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey of more than 8 bits to uint16 or float32."""
    values, alpha = np.asarray(image), None
    white_is_zero = tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    if image.mode == "F":
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(
                f"floats from {values.min():g} to {values.max():g}, expected 0.0 to 1.0"
            )
        return (1 - values if white_is_zero else values)[..., None], None
    if image.mode == "I" and kind != "PNG":  # a 16-bit PNG in Pillow before 11
        raise ValueError("signed or 32-bit integers: which of them is white is not in the file")
    (bits,) = tags.get(_BITS_PER_SAMPLE, (16,))
    values = values.astype(np.uint16)
    if "transparency" in image.info:
        alpha = _opaque_but(values[..., None] == image.info["transparency"])
    if bits != 16:
        values = np.rint(values * (_MOST / (2**bits - 1))).astype(np.uint16)
    return (_MOST - values if white_is_zero else values)[..., None], alpha


def _opaque_but(transparent: np.ndarray) -> np.ndarray:
    return np.where(transparent.all(axis=-1, keepdims=True), 0, _MOST).astype(np.uint16)


def _eight_bits(image: Image) -> tuple[np.ndarray, np.ndarray | None]:
    if image.mode == "LAB":
        raise ValueError("colours in CIE L*a*b*: convert them to RGB first")
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    grey = image.mode in ("1", "L", "LA")
    if image.mode == "PA" or image.has_transparency_data:
        values = np.asarray(image.convert("LA" if grey and image.mode != "1" else "RGBA"))
        colours = values[..., :1] if grey else values[..., :-1]
        return colours, values[..., -1:]
    values = np.asarray(image.convert("L" if grey else "RGB"))
    if image.mode == "P" and np.array_equal(values[..., :2], values[..., 1:]):
        return values[..., :1], None  # as GIF holds grey
    return (values[..., None] if grey else values), None


def _has_layout(image: Any, layouts: tuple[str, ...]) -> bool:
    return layout_of(image).startswith(layouts)


def _deep_colour(image: Any, again: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour of 16 bits to uint16, RGB or grey and alpha.

    Pillow holds 8 bits of a colour. It is told to decode a file twice, the second time as if its
    bytes were the other way round: the upper bytes, then the lower ones.
    """
    key = image.info.get("transparency")
    layout = layout_of(image)
    grey, unused = layout.startswith("LA"), layout.startswith("RGBX")
    if grey:
        # Four bytes, as they are: grey and alpha, the upper byte first.
        values = _decoded(image, lambda layout: "RGBA")
        values = values.view(">u2").astype(np.uint16)
    else:
        swaps = {"L": "B", "B": "L", "N": "B"}
        upper = _decoded(image, lambda layout: layout)
        lower = _decoded(again, lambda layout: layout[:-1] + swaps[layout[-1]])
        values = upper.astype(np.uint16) << 8 | lower
    if unused:
        return values[..., :3], None
    if key is not None and not grey:
        return values, _opaque_but(values == np.array(key, np.uint16))
    channels = 1 if grey else 3
    return values[..., :channels], values[..., channels:] if values.shape[-1] > channels else None


def _decoded(image: Any, layout: Callable[[str], str]) -> np.ndarray:
    tiles = []
    for codec, extents, offset, arguments in image.tile:
        if isinstance(arguments, str):
            arguments = layout(arguments)
        else:
            arguments = (layout(arguments[0]), *arguments[1:])
        tiles.append((codec, extents, offset, arguments))
    image.tile = tiles
    image.info.pop("transparency", None)
    turn(image)
    return np.ascontiguousarray(np.asarray(image))


def write_picture(picture: Picture, file: IO[bytes]) -> None:
    """Writes a PNG, or a TIFF of floats; see `Picture.suffix`."""
    import PIL.Image

    pixels, options = picture.pixels, {}
    if picture.profile:
        options["icc_profile"] = picture.profile
    if pixels.dtype.kind == "f":
        PIL.Image.fromarray(pixels[..., 0].astype(np.float32)).save(file, "TIFF", **options)
        return
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha], axis=-1)
    if pixels.dtype == np.uint8 or pixels.shape[-1] == 1:
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        PIL.Image.fromarray(flat).save(file, "PNG", **options)
    else:
        _write_deep_colour(pixels, picture.profile, file)


def _write_deep_colour(pixels: np.ndarray, profile: bytes | None, file: IO[bytes]) -> None:
    """A PNG (ISO/IEC 15948) of uint16 (H, W, 2 to 4), which Pillow does not write."""
    height, width, channels = pixels.shape

    def chunk(name: bytes, content: bytes) -> None:
        file.write(struct.pack(">I", len(content)) + name + content)
        file.write(struct.pack(">I", zlib.crc32(name + content)))

    file.write(b"\x89PNG\r\n\x1a\n")
    kind = {2: 4, 3: 2, 4: 6}[channels]
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    if profile:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    packer = zlib.compressobj(4)
    previous = np.zeros((1, width * channels * 2), np.uint8)
    rows = max(1, (1 << 20) // previous.size)
    for top in range(0, height, rows):
        block = pixels[top : top + rows].astype(">u2").reshape(-1, width * channels)
        block = block.view(np.uint8)
        # Filter type 2: the difference to the row above.
        above = np.concatenate([previous, block[:-1]])
        filtered = np.pad(block - above, ((0, 0), (1, 0)), constant_values=2)
        previous = block[-1:]
        if content := packer.compress(filtered.tobytes()):
            chunk(b"IDAT", content)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")
