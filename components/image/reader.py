"""Image files to pixels: one reading, with the same rules, in Python and in a graph.

| in the file                  | read as                                                      |
|------------------------------|--------------------------------------------------------------|
| 16 bits (TIFF also 12)       | 8 bits, to the nearest; a 16-bit colour PNG by its upper byte |
| floats (TIFF)                | 0.0 black, 1.0 white; any other value is refused             |
| 1 bit, palette, CMYK, YCbCr  | RGB                                                          |
| transparency                 | laid on white, as a viewer shows it; noted                   |
| EXIF orientation             | turned as a viewer shows it                                  |
| several frames or pages      | the first one; noted                                         |
| colour, for a grey model     | luma of ITU-R BT.601                                         |

What cannot be read rightly (signed or 32-bit integers, CIE L*a*b*) is refused by name. Colour
profiles are not applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from components.base.errors import DataError, DenoiseError
from components.base.files import shown
from components.image.pixels import MAX_PIXEL, quantise_array

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
"""Names of image files end so, in upper or lower case."""

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
# Tags and values of TIFF 6.0, section 8.
_BITS_PER_SAMPLE = 258
_PLANAR_CONFIGURATION = 284
_SEPARATE = 2
_PHOTOMETRIC_INTERPRETATION = 262
_WHITE_IS_ZERO = 0
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_HEAD = 1 << 17
"""Bytes in which metadata are looked for: they are first, and rarely this long."""


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """What an image file holds."""

    pixels: np.ndarray
    """uint8 (H, W, C)."""
    notes: tuple[str, ...] = ()
    """What was not taken from the file as it is, for people."""


def read_image(
    path: str | os.PathLike[str], channels: int, size: tuple[int, int] | None = None
) -> ImageFile:
    """Reads an image file.

    Args:
      path: A PNG, JPEG, TIFF, WebP, BMP or GIF, whatever its name ends in.
      channels: 1 for grey, 3 for RGB.
      size: (H, W) that is expected. Checked before the pixels are decoded.

    Raises:
      DataError: it is not such an image, is of another size or cannot be read rightly; names
        the file and what was found.
    """
    name = shown(path)
    with opened(path, name) as image:
        if size is not None and image.size not in (size, size[::-1]):
            raise DataError(_wrong_size(name, image, size))
        decoded = _Decoded(image, channels)
        if size is not None and decoded.image.size != size[::-1]:
            raise DataError(_wrong_size(name, decoded.image, size))
        pixels, more = decoded.pixels()
    return ImageFile(pixels, decoded.notes + more)


class SmallImageError(DataError):
    """An image is smaller than what is to be cut from it."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Parts of one image."""

    pixels: np.ndarray
    """uint8 (N, H, W, C)."""
    notes: tuple[str, ...]
    """As of an `ImageFile`."""


def read_patches(
    stream: IO[bytes],
    name: str,
    channels: int,
    size: tuple[int, int],
    places: Callable[[int, int], Sequence[tuple[int, int]]],
) -> Patches:
    """Reads parts of an image file: what `read_image` gives there, without converting the rest.

    Args:
      stream: The file, seekable.
      name: The file's, for messages.
      channels: 1 for grey, 3 for RGB.
      size: (H, W) of a patch.
      places: From the height and width of the image, as a viewer shows it, to (top, left) of each
        patch, at least one. What it raises is raised.

    Raises:
      SmallImageError: it is smaller than a patch.
      DataError: it is not an image or cannot be read rightly; names the file and what was found.
    """
    height, width = size
    with opened(stream, name) as image:
        # Before it is decoded, when nobody knows yet how it is turned.
        if min(image.size) < min(size) or max(image.size) < max(size):
            raise SmallImageError(_too_small(name, image, size))
        decoded = _Decoded(image, channels)
        if decoded.image.height < height or decoded.image.width < width:
            raise SmallImageError(_too_small(name, decoded.image, size))
        corners = places(decoded.image.height, decoded.image.width)
        notes = decoded.notes
        if decoded.deep:
            # Whether floats are in range is a matter of the whole image.
            whole, _ = decoded.pixels()
            parts = [whole[top : top + height, left : left + width] for top, left in corners]
        else:
            parts = []
            for top, left in corners:
                part, more = decoded.pixels((left, top, left + width, top + height))
                parts.append(part)
                notes += tuple(note for note in more if note not in notes)
    return Patches(np.stack(parts), notes)


@contextlib.contextmanager
def opened(source: Any, name: str) -> Iterator[Image]:
    """An image whose pixels are still to be decoded; whatever is wrong with it is a DataError."""
    import PIL.Image

    try:
        with PIL.Image.open(source, formats=_FORMATS) as image:
            _check_planes(image)
            _correct(image)
            yield image
    except DenoiseError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image: expected {', '.join(_FORMATS)}.") from error
    except Exception as error:  # a broken file raises anything, struct.error and IndexError too
        raise DataError(f"{name}: not an image that can be read: {error}") from error


def _check_planes(image: Image) -> None:
    """Refuses what Pillow reads wrongly, and says nothing of: it takes bytes for values."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, ())
    if tags.get(_PLANAR_CONFIGURATION) == _SEPARATE and len(bits) > 1 and max(bits) > 8:
        raise ValueError(
            f"{max(bits)} bits in a plane for each colour: save it with the colours of a pixel "
            "together (PlanarConfiguration 1)"
        )


def layout_of(image: Any) -> str:
    """Pillow's name of how the values of a pixel lie in the file; "" if it has none."""
    if not image.tile:
        return ""
    arguments = image.tile[0][3]
    return arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""


def _correct(image: Image) -> None:
    """Puts right what Pillow tells of a file."""
    # It scales a pixel of 2 or 4 bits to 8, and leaves the transparent one as it is.
    scale = {"L;2": 85, "L;4": 17}.get(layout_of(image))
    if scale and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= scale


def turn(image: Image) -> None:
    """Decodes an image and turns it, in place, as a viewer shows it: by its EXIF alone, and not
    by an orientation in the XMP, as Pillow would."""
    import PIL.ImageOps

    # TIFF's is looked at while it is decoded, a PNG's may come after the pixels.
    _leave_xmp(image)
    image.load()
    _leave_xmp(image)
    PIL.ImageOps.exif_transpose(image, in_place=True)


def _leave_xmp(image: Image) -> None:
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)


class _Decoded:
    """A decoded image as a viewer shows it, and how its parts become pixels.

    Attributes:
      image: Turned by its EXIF orientation, in the mode of the file.
      deep: Whether it has more than 8 bits.
      notes: What was not taken from the file as it is.
    """

    def __init__(self, image: Image, channels: int):
        self.notes = frames(image)
        if layout_of(image).startswith("RGB;16") and "transparency" in image.info:
            # Pillow compares the upper bytes alone.
            raise ValueError("transparency with 16 bits")
        self._kind, self._tags = image.format, getattr(image, "tag_v2", {})
        self._channels = channels
        turn(image)
        self.image = image
        self.deep = self.image.mode == "F" or self.image.mode.startswith("I")

    def pixels(
        self, box: tuple[int, int, int, int] | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """uint8 (H, W, C) of all, or of (left, top, right, bottom); and what is to be noted."""
        part = self.image if box is None else self.image.crop(box)
        if self.deep:
            pixels, notes = _deep(part, self._kind, self._tags)
        else:
            pixels, notes = _eight_bits(part, self._channels)
        return np.broadcast_to(pixels, (*pixels.shape[:2], self._channels)), notes


def _too_small(name: str, image: Image, size: tuple[int, int]) -> str:
    return (
        f"{name}: {image.width}x{image.height} pixels, smaller than a patch of {size[1]}x{size[0]}."
    )


def _wrong_size(name: str, image: Image, size: tuple[int, int]) -> str:
    return (
        f"{name}: the model takes images of {size[1]}x{size[0]} pixels, this one has "
        f"{image.width}x{image.height}."
    )


def frames(image: Image) -> tuple[str, ...]:
    """What is to be noted of a file that holds more than the first picture."""
    # The other pictures of an MPO are previews or depth maps of the first.
    number = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return () if number == 1 else (f"the first of {number} frames",)


def _deep(
    image: Image, kind: str | None, tags: Mapping[int, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey of more than 8 bits to uint8 (H, W, 1)."""
    values = np.asarray(image)
    if image.mode == "F":
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(
                f"floats from {values.min():g} to {values.max():g}, expected 0.0 to 1.0"
            )
        scaled = values
    elif image.mode == "I" and kind != "PNG":  # a 16-bit PNG in Pillow before 11
        raise ValueError("signed or 32-bit integers: which of them is white is not in the file")
    elif "transparency" in image.info:
        raise ValueError("transparency with 16 bits")
    else:
        (bits,) = tags.get(_BITS_PER_SAMPLE, (16,))
        scaled = values.astype(np.float32) / np.float32(2**bits - 1)
    if tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        scaled = 1 - scaled
    return quantise_array(scaled)[..., None], ()


def _eight_bits(image: Image, channels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """To uint8 (H, W, `channels`)."""
    notes: tuple[str, ...] = ()
    if image.mode == "LAB":
        raise ValueError("colours in CIE L*a*b*: convert them to RGB first")
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode == "PA" or image.has_transparency_data:
        values = np.asarray(image.convert("RGBA"), np.int32)
        colour, alpha = values[..., :3], values[..., 3:]
        if alpha.min(initial=MAX_PIXEL) < MAX_PIXEL:
            notes = ("transparent pixels are laid on white",)
        rgb = _on_white(colour, alpha).astype(np.uint8)
    else:
        rgb = np.asarray(image.convert("RGB"))
    if channels == 1:
        rgb = _luma(rgb.astype(np.int32)).astype(np.uint8)
    return rgb, notes


def _on_white(colour: Any, alpha: Any) -> Any:
    """Whole numbers 0 to 255 of a NumPy array or a tensor, rounded to the nearest."""
    return (colour * alpha + MAX_PIXEL * (MAX_PIXEL - alpha) + MAX_PIXEL // 2) // MAX_PIXEL


def _luma(rgb: Any) -> Any:
    """ITU-R BT.601 in Pillow's whole numbers, 0.299, 0.587 and 0.114 of 2^16: (..., 3) to
    (..., 1). Exact in float32, too."""
    red, green, blue = rgb[..., 0:1], rgb[..., 1:2], rgb[..., 2:3]
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) // 0x10000


def read_in_graph(encoded: Any, channels: int) -> Any:
    """`read_image` of a PNG or JPEG in TensorFlow operations, for a signature.

    Equal to it pixel for pixel, but for 16-bit colour (within one level, two with transparency;
    that of a single colour is taken, too), CMYK (within a few) and the orientation of a PNG, which
    is not looked for.

    Args:
      encoded: string (), the file's bytes.
      channels: 1 for grey, 3 for RGB.

    Returns:
      uint8 (H, W, `channels`). Other bytes raise INVALID_ARGUMENT.
    """
    import tensorflow as tf

    def from_jpeg() -> Any:
        # oneDNN warns of a transposition of bytes.
        rgb = tf.cast(_decoded_jpeg(encoded), tf.float32)
        return tf.cast(_turned(rgb, _orientation(encoded)), tf.uint8)

    def from_png() -> Any:
        def deep() -> Any:
            values = tf.io.decode_png(encoded, channels=4, dtype=tf.uint16)
            return _laid_on_white((tf.cast(values, tf.float32) + 128) // 257)

        def transparent() -> Any:
            return _laid_on_white(tf.io.decode_png(encoded, channels=4))

        def opaque_unless_told() -> Any:
            # The alpha channel that TensorFlow adds to less than 8 bits is not opaque, so it is
            # asked for only where there is one.
            # A text may say tRNS, too; a chunk of 16 entries at most is one with three zeros.
            head = _head(encoded)
            length = tf.maximum(_places(head, b"tRNS")[:, None] - (4, 3, 2), 0)
            told = tf.reduce_any(tf.reduce_all(tf.equal(tf.gather(head, length), 0), axis=1))
            return tf.cond(told, transparent, lambda: tf.io.decode_png(encoded, channels=3))

        depth = tf.strings.substr(encoded, 24, 1)  # PNG 1.2, 4.1.1
        return tf.case(
            [(tf.equal(depth, b"\x08"), transparent), (tf.equal(depth, b"\x10"), deep)],
            default=opaque_unless_told,
        )

    def refused() -> Any:
        expected = tf.debugging.Assert(False, ["image_bytes: expected a PNG or JPEG."])
        with tf.control_dependencies([expected]):
            return tf.zeros((0, 0, 3), tf.uint8)

    rgb = tf.case(
        [
            (tf.equal(tf.strings.substr(encoded, 0, len(_JPEG)), _JPEG), from_jpeg),
            (tf.equal(tf.strings.substr(encoded, 0, len(_PNG)), _PNG), from_png),
        ],
        default=refused,
    )
    return _in_channels(tf.ensure_shape(rgb, (None, None, 3)), channels)


def _decoded_jpeg(encoded: Any) -> Any:
    import tensorflow as tf

    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _laid_on_white(rgba: Any) -> Any:
    """Values from 0 to 255 (..., 4) to uint8 (..., 3)."""
    import tensorflow as tf

    values = tf.cast(rgba, tf.float32)
    return tf.cast(_on_white(values[..., :3], values[..., 3:]), tf.uint8)


def _in_channels(rgb: Any, channels: int) -> Any:
    import tensorflow as tf

    return tf.cast(_luma(tf.cast(rgb, tf.float32)), tf.uint8) if channels == 1 else rgb


def size_in_head(encoded: Any) -> Any:
    """int32 (2,): height and width of a PNG or JPEG before it is decoded; zeros of anything else,
    which decoding refuses."""
    import tensorflow as tf

    def of_png() -> Any:
        sizes = tf.io.decode_raw(
            tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False
        )  # PNG 1.2, 4.1.1
        return tf.ensure_shape(sizes, (2,))[::-1]

    def of_jpeg() -> Any:
        return tf.image.extract_jpeg_shape(encoded)[:2]

    return tf.case(
        [
            (tf.equal(tf.strings.substr(encoded, 0, len(_JPEG)), _JPEG), of_jpeg),
            (tf.equal(tf.strings.substr(encoded, 0, len(_PNG)), _PNG), of_png),
        ],
        default=lambda: tf.zeros(2, tf.int32),
    )


def read_batch_in_graph(encoded: Any, shape: tuple[int, int, int]) -> Any:
    """`read_in_graph` of images of one size.

    Files of the usual kinds, if they are alone in a batch, take the operations of decoding for
    each image and all others once: 64 of 28x28 in a fifth of the time.

    Args:
      encoded: string (N,), the files' bytes.
      shape: (H, W, C), C is 1 for grey, 3 for RGB.

    Returns:
      uint8 (N, H, W, C). Other bytes, or an image of another size, raise INVALID_ARGUMENT.
    """
    import tensorflow as tf

    height, width, channels = shape

    expected = f"image_bytes: expected a PNG or JPEG of {width}x{height} pixels, found shape"

    def of_any() -> Any:
        def one(content: Any) -> Any:
            # A small file may hold an image that fills the memory.
            size = size_in_head(content)
            upright, turned = (
                tf.reduce_all(tf.equal(size, sides)) for sides in ((height, width), (width, height))
            )
            no_image = tf.equal(tf.reduce_sum(tf.abs(size)), 0)
            right = upright | turned | no_image
            with tf.control_dependencies([tf.debugging.Assert(right, [expected, size])]):
                image = read_in_graph(content, channels)
            found = tf.shape(image)
            right = tf.reduce_all(tf.equal(found[:2], (height, width)))
            with tf.control_dependencies([tf.debugging.Assert(right, [expected, found])]):
                return tf.reshape(image, shape)

        return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(shape, tf.uint8))

    def of_pngs() -> Any:
        # Their heads tell the size.
        spec = tf.TensorSpec((height, width, 4), tf.uint8)
        values = tf.map_fn(
            lambda content: tf.ensure_shape(tf.io.decode_png(content, channels=4), spec.shape),
            encoded,
            fn_output_signature=spec,
        )
        opaque = tf.reduce_all(tf.equal(values[..., 3], MAX_PIXEL))
        rgb = tf.cond(opaque, lambda: values[..., :3], lambda: _laid_on_white(values))
        return _in_channels(rgb, channels)

    def of_jpegs() -> Any:
        def one(content: Any) -> Any:
            size = tf.image.extract_jpeg_shape(content)[:2]
            right = tf.reduce_all(tf.equal(size, (height, width)))
            with tf.control_dependencies([tf.debugging.Assert(right, [expected, size])]):
                return tf.reshape(_decoded_jpeg(content), (height, width, 3))

        spec = tf.TensorSpec((height, width, 3), tf.uint8)
        return _in_channels(tf.map_fn(one, encoded, fn_output_signature=spec), channels)

    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    png_head = _PNG + b"\0\0\0\rIHDR" + sizes + b"\x08"
    pngs = tf.equal(tf.strings.substr(encoded, 0, len(png_head)), png_head)
    heads = tf.strings.substr(encoded, 0, _HEAD)
    exif = tf.strings.regex_full_match(heads, r"\C*Exif\x00\x00\C*")
    jpegs = tf.equal(tf.strings.substr(encoded, 0, len(_JPEG)), _JPEG) & ~exif
    return tf.case(
        [(tf.reduce_all(pngs), of_pngs), (tf.reduce_all(jpegs), of_jpegs)], default=of_any
    )


def _turned(image: Any, orientation: Any) -> Any:
    """(H, W, C) as a viewer shows it.

    Args:
      orientation: 1 to 8, EXIF 2.3, section 4.6.4.
    """
    import tensorflow as tf

    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    for axis, turns in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        turned = tf.reverse(image, (axis,))
        image = tf.where(tf.reduce_any(tf.equal(orientation, turns)), turned, image)
    return image


def _head(encoded: Any) -> Any:
    """What comes before the pixels as int32 (bytes,)."""
    import tensorflow as tf

    return tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _HEAD), tf.uint8), tf.int32)


def _places(data: Any, mark: bytes) -> Any:
    """Where a mark begins in int32 (bytes,): int64 (n,)."""
    import tensorflow as tf

    size = tf.maximum(tf.size(data) - len(mark) + 1, 0)
    equal = [tf.equal(data[shift : shift + size], byte) for shift, byte in enumerate(mark)]
    return tf.where(tf.reduce_all(tf.stack(equal), axis=0))[:, 0]


def _orientation(encoded: Any) -> Any:
    """The orientation in a JPEG's EXIF (a TIFF header and directory), 1 if there is none."""
    import tensorflow as tf

    mark, tag, short, long = b"Exif\0\0", 0x0112, 3, 4
    head = _head(encoded)
    found = _places(head, mark)
    # A zero at the end is what is read beyond it.
    size = tf.size(head)
    data = tf.concat([head, [0]], axis=0)

    def read() -> Any:
        start = tf.cast(found[0], tf.int32) + len(mark)
        big = tf.equal(data[tf.minimum(start, size)], ord("M"))

        def number(at: Any, length: int) -> Any:
            bytes_ = [tf.gather(data, tf.clip_by_value(at + i, 0, size)) for i in range(length)]
            little, large = (
                sum(byte * 256**power for power, byte in enumerate(order))
                for order in (bytes_, bytes_[::-1])
            )
            return tf.where(big, large, little)

        directory = start + number(start + 4, 4)
        entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 1 << 10))
        kind = number(entries + 2, 2)
        values = tf.where(tf.equal(kind, long), number(entries + 8, 4), number(entries + 8, 2))
        is_it = tf.equal(number(entries, 2), tag) & (tf.equal(kind, short) | tf.equal(kind, long))
        values = tf.boolean_mask(values, is_it)
        value = tf.concat([values, [1]], axis=0)[0]
        return tf.where((value >= 1) & (value <= 8), value, 1)

    return tf.cond(tf.size(found) > 0, read, lambda: tf.constant(1))
