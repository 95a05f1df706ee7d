"""Pictures go from file to file with their size, depth, colour and transparency."""

from __future__ import annotations

import functools
import io
import pathlib
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.base.errors import DataError
from components.image.picture import Picture, read_picture, write_picture
from components.image.reader import read_image
from tests.components.image.png import png

CASES = pathlib.Path(__file__).parents[2] / "cases"


def write(picture: Picture, folder: pathlib.Path) -> pathlib.Path:
    path = folder / f"picture{picture.suffix}"
    with path.open("wb") as file:
        write_picture(picture, file)
    return path


def assert_shows(path: pathlib.Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> None:
    found = read_picture(path)
    assert found.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    assert (found.alpha is None) == (alpha is None)
    if alpha is not None:
        assert found.alpha.dtype == alpha.dtype
        np.testing.assert_array_equal(found.alpha, alpha)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    channels=st.sampled_from([1, 3]),
    transparent=st.booleans(),
)
@settings(max_examples=40)
def test_what_is_written_is_read_again(tmp_path_factory, size, dtype, channels, transparent):
    random = np.random.default_rng(size[0])
    if dtype == np.float32:
        channels, transparent = 1, False
        values = random.random((*size, 4), np.float32)
    else:
        values = random.integers(0, np.iinfo(dtype).max, (*size, 4), dtype, endpoint=True)
    alpha = values[..., 3:] if transparent else None
    # What it says of itself is where it should be.
    profile = b"not really one, " + (b"GRAY" if channels == 1 else b"RGB ") + bytes(99)
    picture = Picture(values[..., :channels], alpha, profile=profile)
    path = write(picture, tmp_path_factory.mktemp("written"))
    assert_shows(path, picture.pixels, alpha)
    assert read_picture(path).profile == picture.profile
    if dtype == np.uint16:
        # As another reader sees it.
        decoded = tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()
        all_ = np.concatenate([picture.pixels] + [alpha] * transparent, axis=-1)
        np.testing.assert_array_equal(decoded, all_)


def test_sixteen_bits_of_colour_are_read_from_any_png(tmp_path):
    """Of all filters, also interlaced."""
    y, x = np.mgrid[:50, :60]
    waves = np.stack([np.sin(x / 9) + np.cos(y / 7 + c) for c in range(4)], axis=-1)
    values = (65535 * (waves + 2) / 4).astype(np.uint16)
    values[20:30] = np.random.default_rng(0).integers(0, 65536, (10, 60, 4))
    for channels in (2, 3, 4):
        (tmp_path / "a.png").write_bytes(tf.io.encode_png(values[..., :channels]).numpy())
        colours = 1 if channels == 2 else 3
        alpha = values[..., colours:channels] if channels != 3 else None
        assert_shows(tmp_path / "a.png", values[..., :colours], alpha)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiffs(tmp_path, compression, order, channels):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(1).integers(0, 65536, (30, 20, channels), np.uint16)
    options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(
        tmp_path / "a.tif",
        values if channels > 1 else values[..., 0],
        photometric="rgb" if channels > 1 else "minisblack",
        compression=compression,
        byteorder=order,
        **options,
    )
    alpha = values[..., 3:] if channels == 4 else None
    assert_shows(tmp_path / "a.tif", values[..., : min(channels, 3)], alpha)


def test_a_fourth_value_without_a_meaning_is_no_alpha(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(1).integers(0, 65536, (30, 20, 4), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert_shows(tmp_path / "a.tif", values[..., :3], None)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_pillow_reads_wrongly_is_refused(tmp_path, compression, order):
    tifffile = pytest.importorskip("tifffile")
    options = {"compression": compression, "byteorder": order}
    planes = np.random.default_rng(1).integers(0, 65536, (4, 30, 20), np.uint16)
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, planes[:3], photometric="rgb", planarconfig="separate", **options)
    for read in (read_picture, functools.partial(read_image, channels=3)):
        with pytest.raises(DataError, match=r"a\.tif.* 16 bits in a plane for each colour"):
            read(file)
    together = np.ascontiguousarray(planes.transpose(1, 2, 0))
    for kind in (
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        {"photometric": "separated"},
    ):
        tifffile.imwrite(file, together, **kind, **options)
        with pytest.raises(DataError, match=r"a\.tif.* 16 bits in CMYK or with premultiplied"):
            read_picture(file)


@pytest.mark.parametrize(("kind", "values"), [(0, [[700], [701]]), (2, [[1, 2, 3], [1, 2, 259]])])
def test_one_transparent_colour_of_sixteen_bits(tmp_path, kind, values):
    rows = np.array(values, ">u2").tobytes()
    key = np.array(values[0], ">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(kind, 16, rows, (b"tRNS", key)))
    pixels = np.array([values], np.uint16)
    assert_shows(tmp_path / "a.png", pixels, np.array([[[0], [65535]]], np.uint16))


def test_eight_bits(tmp_path):
    random = np.random.default_rng(2)
    rgba = random.integers(0, 256, (6, 5, 4), np.uint8)
    path = tmp_path / "a.png"
    for image, pixels, alpha in (
        (PIL.Image.fromarray(rgba), rgba[..., :3], rgba[..., 3:]),
        (PIL.Image.fromarray(rgba[..., :3]), rgba[..., :3], None),
        (PIL.Image.fromarray(rgba[..., 2:], "LA"), rgba[..., 2:3], rgba[..., 3:]),
        (PIL.Image.fromarray(rgba[..., 0]), rgba[..., :1], None),
        (PIL.Image.fromarray(rgba[..., 0] > 99), np.where(rgba[..., :1] > 99, 255, 0), None),
    ):
        image.save(path)
        assert_shows(path, pixels.astype(np.uint8), alpha)
    palette = PIL.Image.fromarray(rgba[..., :3]).quantize(8)
    palette.save(path)
    assert_shows(path, np.asarray(palette.convert("RGB")))
    grey = PIL.Image.fromarray(rgba[..., 0]).convert("P")
    grey.save(path, icc_profile=bytes(16) + b"RGB " + bytes(99))
    assert_shows(path, rgba[..., :1])
    assert read_picture(path).profile is None  # PNG forbids that of colours in a grey file
    PIL.Image.fromarray(rgba[..., 0]).save(tmp_path / "a.gif")
    assert_shows(tmp_path / "a.gif", rgba[..., :1])
    palette.save(path, transparency=bytes([0, 100]))
    opened = np.asarray(PIL.Image.open(path).convert("RGBA"))
    assert set(opened[..., 3].ravel()) >= {0, 255}
    assert_shows(path, opened[..., :3], opened[..., 3:])


def test_it_is_turned_as_a_viewer_shows_it(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    values = np.random.default_rng(3).integers(0, 65536, (4, 7, 3), np.uint16)
    PIL.Image.fromarray(values[..., 0]).save(tmp_path / "a.png", exif=exif)
    assert_shows(tmp_path / "a.png", np.rot90(values[..., :1], -1))
    assert_shows(CASES / "exif6.jpg", read_image(CASES / "exif6.jpg", 1).pixels)
    # In a PNG with 16 bits of colour, too, of which both halves are turned.
    content = io.BytesIO()
    write_picture(Picture(values), content)
    data = content.getvalue()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    exif_chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "b.png").write_bytes(data[:33] + exif_chunk + data[33:])
    assert_shows(tmp_path / "b.png", np.rot90(values, -1))


def test_cmyk_and_frames(tmp_path):
    picture = read_picture(CASES / "cmyk.jpg")
    rgb = np.asarray(PIL.Image.open(CASES / "cmyk.jpg").convert("RGB"))
    np.testing.assert_array_equal(picture.pixels, rgb)
    assert read_picture(CASES / "anim.png").notes[0].startswith("the first of ")


def large_tiff() -> bytes:
    """A head of 40,000 x 40,000 x 2 bytes, and nothing after it."""
    tags = {256: 40000, 257: 40000, 258: 16, 259: 1, 262: 1, 273: 200, 277: 1, 278: 40000}
    tags[279] = 3_200_000_000
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def broken_jpeg() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (300, 300), "red").save(file, "JPEG")
    return file.getvalue()[:-300]


def broken_deep_png() -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), np.uint16)
    write_picture(Picture(values), file)
    return file.getvalue()[:-3000]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"This is a text.\n" * 9, "not an image: expected PNG, JPEG"),
        (b"", "not an image: expected PNG, JPEG"),
        (broken_jpeg(), "not an image that can be read: .*truncated"),
        (broken_deep_png(), "not an image that can be read: .*truncated"),
        (
            png(0, 8, b"\0\0", size=(100_000, 100_000)),
            "not an image that can be read: .*decompression bomb",
        ),
        (large_tiff(), "not an image that can be read: .*decompression bomb"),
    ],
    ids=["text", "empty", "jpeg", "png", "bomb", "tiff"],
)
def test_what_is_no_picture_is_named(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=f"a.png: {said}"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "said"), [("I", "32-bit integers"), ("LAB", "convert them")])
def test_what_cannot_be_read_rightly(tmp_path, mode, said):
    PIL.Image.new(mode, (3, 2)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=said):
        read_picture(tmp_path / "a.tif")
    PIL.Image.fromarray(np.full((3, 2), 2, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"floats from 2 to 2, expected 0.0 to 1.0"):
        read_picture(tmp_path / "a.tif")
