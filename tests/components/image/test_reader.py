"""One reading of image files: what Pillow's modes and TensorFlow's operations hold becomes the
same pixels."""

from __future__ import annotations

import io
import pathlib
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.base.errors import DataError
from components.image.picture import read_picture
from components.image.reader import (
    SmallImageError,
    read_batch_in_graph,
    read_image,
    read_in_graph,
    read_patches,
)
from tests.components.image.png import png

CASES = pathlib.Path(__file__).parents[2] / "cases"
HEIGHT, WIDTH = 5, 7


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 in whole numbers: uint8 (H, W, 3) to uint8 (H, W, 1)."""
    weighted = rgb.astype(np.int64) @ [19595, 38470, 7471]
    return ((weighted + 2**15) >> 16).astype(np.uint8)[..., None]


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 4) to uint8 (H, W, 3)."""
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255
    return np.floor(colour * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def write(folder: pathlib.Path, image: PIL.Image.Image, kind: str, **options) -> pathlib.Path:
    path = folder / f"image.{kind}"
    image.save(path, **options)
    return path


def assert_reads(path: pathlib.Path, rgb: np.ndarray, *notes: str) -> None:
    found = read_image(path, 3, (HEIGHT, WIDTH))
    assert found.pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels, rgb)
    assert found.notes == notes
    np.testing.assert_array_equal(read_image(path, 1, (HEIGHT, WIDTH)).pixels, luma(rgb))
    corners = [(0, 0), (2, 3), (1, 4)]
    with open(path, "rb") as file:
        patches = read_patches(file, str(path), 3, (3, 2), lambda height, width: corners)
    assert patches.pixels.dtype == np.uint8
    for patch, (top, left) in zip(patches.pixels, corners, strict=True):
        np.testing.assert_array_equal(patch, rgb[top : top + 3, left : left + 2])


def plane(dtype, channels: int = 0, high: int | None = None) -> st.SearchStrategy[np.ndarray]:
    shape = (HEIGHT, WIDTH, channels) if channels else (HEIGHT, WIDTH)
    elements = None if high is None else st.integers(0, high)
    return arrays.arrays(dtype, shape, elements=elements)


@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B", "F"],
)
def test_every_mode_is_read_as_converted_by_hand(tmp_path_factory, mode, data):
    folder = tmp_path_factory.mktemp("mode")
    bytes_ = {m: len(PIL.Image.new(m, (1, 1)).getbands()) for m in PIL.Image.MODES}
    notes: tuple[str, ...] = ()
    if mode == "1":
        bits = data.draw(plane(np.bool_))
        path = write(folder, PIL.Image.fromarray(bits), "png")
        rgb = grey(np.where(bits, 255, 0).astype(np.uint8))
    elif mode.startswith("I;16"):
        values = data.draw(plane(np.uint16))
        stored = values.astype(">u2" if mode == "I;16B" else "<u2")
        image = PIL.Image.frombytes(mode, (WIDTH, HEIGHT), stored.tobytes())
        path = write(folder, image, data.draw(st.sampled_from(["png", "tif"])))
        rgb = grey(np.round(values / 257).astype(np.uint8))
    elif mode == "F":
        levels = data.draw(plane(np.uint8))
        path = write(folder, PIL.Image.fromarray((levels / 255).astype(np.float32)), "tif")
        rgb = grey(levels)
    elif mode in ("P", "PA"):
        index = data.draw(plane(np.uint8))
        palette = data.draw(arrays.arrays(np.uint8, (256, 3)))
        image = PIL.Image.frombytes("P", (WIDTH, HEIGHT), index.tobytes())
        image.putpalette(palette.tobytes())
        rgb = palette[index]
        if mode == "PA":
            alpha = data.draw(arrays.arrays(np.uint8, 256))
            path = write(folder, image, "png", transparency=alpha.tobytes())
            rgb = on_white(np.dstack([rgb, alpha[index]]))
            if alpha[index].min() < 255:
                notes = ("transparent pixels are laid on white",)
        else:
            path = write(folder, image, "png")
    else:
        values = data.draw(plane(np.uint8, bytes_[mode]))
        image = PIL.Image.frombytes(mode, (WIDTH, HEIGHT), values.tobytes())
        path = write(folder, image, "png" if mode in ("L", "LA", "RGB", "RGBA") else "tif")
        if mode in ("L", "LA"):
            rgb = grey(values[..., 0])
        elif mode == "CMYK":
            cmy, key = 255 - values[..., :3].astype(float), 255 - values[..., 3:].astype(float)
            rgb = np.asarray(image.convert("RGB"))
            assert np.abs(rgb - cmy * key / 255).max() <= 1
        else:
            rgb = values[..., :3]
        if mode in ("LA", "RGBA"):
            rgb = on_white(np.dstack([rgb, values[..., -1]]))
            if values[..., -1].min() < 255:
                notes = ("transparent pixels are laid on white",)
    assert_reads(path, rgb, *notes)


def test_every_mode_of_pillow_is_thought_of(tmp_path):
    """A mode that a new Pillow adds must be decided on; `inside` are those it opens no file as."""
    inside = {"HSV", "I;16L", "I;16N", "La", "RGBa", "YCbCr"}
    refused = {"I", "LAB"}
    tested = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK"}
    assert set(PIL.Image.MODES) == inside | refused | tested | {"I;16", "I;16B", "F"}
    for mode, said in (("I", "32-bit integers"), ("LAB", "convert them to RGB")):
        path = write(tmp_path, PIL.Image.new(mode, (WIDTH, HEIGHT)), "tif")
        with pytest.raises(DataError, match=f"image.tif: not an image that can be read: .*{said}"):
            read_image(path, 1)


def test_sixteen_bits_are_the_same_picture():
    deep, plain = (read_image(CASES / f"grey{bits}.png", 1) for bits in (16, 8))
    np.testing.assert_array_equal(deep.pixels, plain.pixels)
    assert deep.pixels.mean() == pytest.approx(37.19, abs=0.01)


def tiff(bits: int, white: int, content: bytes) -> bytes:
    """A grey TIFF of HEIGHT x WIDTH.

    Args:
      white: PhotometricInterpretation: 0, white is zero; 1, black is zero.
    """
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: white, 273: 200, 277: 1}
    tags |= {278: HEIGHT, 279: len(content)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + content


def test_twelve_bits_and_white_is_zero(tmp_path):
    half = 0x800  # of twelve bits: two pixels in three bytes, each row filled up
    row = b"\x80\x08\x00" * (WIDTH // 2) + b"\x80\x00"
    for bits, content, black_is_zero in (
        (12, row * HEIGHT, round(half / 4095 * 255)),
        (16, b"\x00\x40" * HEIGHT * WIDTH, round(0x4000 / 65535 * 255)),
    ):
        for white in (0, 1):
            (tmp_path / "a.tif").write_bytes(tiff(bits, white, content))
            if (bits, white) == (12, 0):
                with pytest.raises(DataError, match=r"a.tif: not an image"):
                    read_image(tmp_path / "a.tif", 1)
                continue
            found = set(read_image(tmp_path / "a.tif", 1).pixels.ravel())
            assert found == {black_is_zero if white else 255 - black_is_zero}


@pytest.mark.parametrize("values", [[0.0, 255.0], [-0.1, 1.0], [0.0, np.nan], [0.0, np.inf]])
def test_floats_of_another_range_are_refused(tmp_path, values):
    image = PIL.Image.fromarray(np.float32([values]))
    with pytest.raises(DataError, match=r"image.tif: .*floats from .*, expected 0.0 to 1.0"):
        read_image(write(tmp_path, image, "tif"), 1)


def test_orientation_frames_and_cmyk():
    upright = np.rot90(np.asarray(PIL.Image.open(CASES / "exif6.jpg")), -1)
    np.testing.assert_array_equal(read_image(CASES / "exif6.jpg", 1).pixels[..., 0], upright)
    animation = read_image(CASES / "anim.png", 1)
    assert animation.notes == ("the first of 2 frames",)
    np.testing.assert_array_equal(animation.pixels, read_image(CASES / "grey8.png", 1).pixels)
    plain = read_image(CASES / "grey8.png", 1).pixels.astype(int)
    assert np.abs(read_image(CASES / "cmyk.jpg", 1).pixels - plain).mean() < 3


def test_what_is_no_image_of_the_size_is_refused(tmp_path):
    PIL.Image.new("L", (7, 5)).save(tmp_path / "tall.png")
    with pytest.raises(DataError, match=r"tall.png: the model takes images of 5x7.* has 7x5"):
        read_image(tmp_path / "tall.png", 1, (7, 5))
    for name, content in (
        ("text.png", b"not an image"),
        ("empty.png", b""),
        ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not an image: expected PNG"):
            read_image(tmp_path / name, 1)
    whole = (CASES / "grey8.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"cut.png: not an image that can be read"):
        read_image(tmp_path / "cut.png", 1)
    with pytest.raises(DataError, match=r"absent.png: "):
        read_image(tmp_path / "absent.png", 1)


@pytest.fixture(scope="module")
def in_graph():
    return {
        channels: tf.function(
            lambda encoded, channels=channels: read_in_graph(encoded, channels),
            input_signature=[tf.TensorSpec((), tf.string)],
        )
        for channels in (1, 3)
    }


@pytest.fixture(scope="module")
def batch_in_graph():
    return {
        channels: tf.function(
            lambda encoded, channels=channels: read_batch_in_graph(
                encoded, (HEIGHT, WIDTH, channels)
            ),
            input_signature=[tf.TensorSpec((None,), tf.string)],
        )
        for channels in (1, 3)
    }


def _encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_graph_reads_the_same(in_graph, batch_in_graph, tmp_path):
    random = np.random.default_rng(1)
    values = random.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    deep = random.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    rgba = PIL.Image.fromarray(values)
    palette = rgba.convert("RGB").quantize(16)
    big = PIL.Image.fromarray(values[..., :3])
    files = {
        "1": _encoded(rgba.convert("1"), "PNG"),
        "L": _encoded(rgba.convert("L"), "PNG"),
        "LA": _encoded(rgba.convert("LA"), "PNG"),
        "RGB": _encoded(rgba.convert("RGB"), "PNG"),
        "RGBA": _encoded(rgba, "PNG"),
        "P": _encoded(palette, "PNG"),
        "2 colours": _encoded(rgba.convert("RGB").quantize(2), "PNG"),
        "PA": _encoded(palette, "PNG", transparency=bytes(range(100, 116))),
        "16": _encoded(PIL.Image.fromarray(deep), "PNG"),
        "grey JPEG": _encoded(rgba.convert("L"), "JPEG"),
        "JPEG": _encoded(big, "JPEG"),
        "16 bits": (CASES / "grey16.png").read_bytes(),
        "animation": (CASES / "anim.png").read_bytes(),
        "EXIF": (CASES / "exif6.jpg").read_bytes(),
    }
    for orientation in range(10):
        exif = PIL.Image.Exif()
        exif[0x010F] = "maker"
        exif[0x0112] = orientation
        files[f"orientation {orientation}"] = _encoded(big, "JPEG", exif=exif)
        little = PIL.Image.Exif()
        little.load(b"Exif\0\0II*\0\x08\0\0\0\0\0")
        little.update(exif)
        assert b"Exif\0\0II*" in little.tobytes()
        files[f"little-endian {orientation}"] = _encoded(big, "JPEG", exif=little)
    for channels, read in in_graph.items():
        batch = batch_in_graph[channels]
        upright = {}
        for name, content in files.items():
            (tmp_path / "file").write_bytes(content)
            wanted = read_image(tmp_path / "file", channels).pixels
            np.testing.assert_array_equal(read(content).numpy(), wanted, err_msg=name)
            if wanted.shape[:2] == (HEIGHT, WIDTH):
                np.testing.assert_array_equal(batch([content]).numpy(), [wanted], err_msg=name)
                upright[name] = (content, wanted)
            else:
                with pytest.raises(tf.errors.InvalidArgumentError, match=f"{WIDTH}x{HEIGHT}"):
                    batch([content])
        for names in (["L", "RGBA"], ["RGB", "L"], ["JPEG", "grey JPEG"], list(upright)):
            contents, wanted = zip(*(upright[name] for name in names), strict=True)
            np.testing.assert_array_equal(batch(list(contents)).numpy(), wanted, err_msg=str(names))
        assert batch(tf.constant([], tf.string)).shape == (0, HEIGHT, WIDTH, channels)
    cmyk = (CASES / "cmyk.jpg").read_bytes()
    wanted = read_image(CASES / "cmyk.jpg", 1).pixels.astype(int)
    assert np.abs(in_graph[1](cmyk).numpy() - wanted).max() <= 12


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("told", ["nothing", "a text", "one is transparent"])
def test_few_bits_are_read_as_they_are(in_graph, tmp_path, bits, told):
    """Transparent: the value 1, where it is not only written about."""
    values = np.arange(8 // bits) % 2**bits
    chunks = {
        "nothing": [],
        "a text": [(b"tEXt", b"Comment\0about tRNS")],
        "one is transparent": [(b"tRNS", b"\0\1")],
    }[told]
    row = int("".join(f"{value:0{bits}b}" for value in values), 2)
    content = png(0, bits, bytes([row]), *chunks, size=(len(values), 1))
    wanted = values * 255 // (2**bits - 1)
    alpha = np.full(len(values), 255)
    if told == "one is transparent":
        alpha[values == 1] = 0
    (tmp_path / "file.png").write_bytes(content)
    read = read_image(tmp_path / "file.png", 1)
    shown = np.where(alpha == 0, 255, wanted)
    np.testing.assert_array_equal(read.pixels.ravel(), shown)
    assert bool(read.notes) == (alpha.min() == 0)
    np.testing.assert_array_equal(in_graph[1](content).numpy().ravel(), shown)
    picture = read_picture(tmp_path / "file.png")
    np.testing.assert_array_equal(picture.pixels[..., 0].ravel(), wanted)
    found = np.full(len(values), 255) if picture.alpha is None else picture.alpha.ravel()
    np.testing.assert_array_equal(found, alpha)


def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path):
    rows = np.array([[256, 512, 768], [257, 513, 769]], ">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(2, 16, rows, (b"tRNS", rows[:6])))
    with pytest.raises(DataError, match=r"a\.png.*transparency with 16 bits"):
        read_image(tmp_path / "a.png", 3)


def test_an_orientation_is_that_of_the_exif(in_graph, tmp_path):
    """As viewers do it: none in XMP, and of the EXIF one of either kind of number."""
    values = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = PIL.Image.fromarray(values)
    xmp = b'<x xmlns:tiff="t" tiff:Orientation="6"/>'
    long = b"Exif\0\0MM\0*\0\0\0\x08" + b"\0\1\x01\x12\0\4\0\0\0\1\0\0\0\6\0\0\0\0"
    for options, turned in (({"xmp": xmp}, False), ({"exif": long}, True)):
        image.save(tmp_path / "a.jpg", **options)
        shape = (WIDTH, HEIGHT, 3) if turned else (HEIGHT, WIDTH, 3)
        read = read_image(tmp_path / "a.jpg", 3).pixels
        assert read.shape == shape
        np.testing.assert_array_equal(in_graph[3]((tmp_path / "a.jpg").read_bytes()), read)
        assert read_picture(tmp_path / "a.jpg").pixels.shape == shape


def test_no_xmp_turns_a_picture(tmp_path):
    """Nor that of a PNG after its pixels, or of a TIFF of several pages."""
    image = PIL.Image.fromarray(np.zeros((3, 2, 3), np.uint8))
    xmp = b'<x xmlns:tiff="t" tiff:Orientation="6"/>'
    chunk = b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    whole = _encoded(image, "PNG")
    (tmp_path / "a.png").write_bytes(whole[:-12] + chunk + whole[-12:])
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags.tagtype[700] = xmp, 1
    image.save(tmp_path / "b.tif", tiffinfo=tags)
    image.save(tmp_path / "c.tif", tiffinfo=tags, save_all=True, append_images=[image])
    image.save(tmp_path / "d.webp", xmp=xmp)
    for path in tmp_path.iterdir():
        assert read_image(path, 3).pixels.shape == (3, 2, 3), path
        assert read_picture(path).pixels.shape == (3, 2, 3), path


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"text", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0"])
def test_a_graph_refuses_other_bytes(in_graph, batch_in_graph, content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph[1](content)
    with pytest.raises(tf.errors.InvalidArgumentError):
        batch_in_graph[1]([content])


def test_a_batch_is_as_good_as_its_worst_image(batch_in_graph):
    right = _encoded(PIL.Image.new("L", (WIDTH, HEIGHT)), "PNG")
    for kind in ("PNG", "JPEG"):
        wrong = _encoded(PIL.Image.new("L", (WIDTH, HEIGHT + 1)), kind)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"of {WIDTH}x{HEIGHT} pixels"):
            batch_in_graph[1]([right, wrong])
    with pytest.raises(tf.errors.InvalidArgumentError):
        batch_in_graph[1]([right, right[:-20]])


def test_an_image_that_would_fill_the_memory_is_not_decoded(batch_in_graph):
    """Its data are missing: decoding would say so."""
    size = (20_000).to_bytes(4, "big")
    right = _encoded(PIL.Image.new("1", (WIDTH, HEIGHT)), "PNG")
    png = right[:16] + size + size + right[24:29]
    whole = _encoded(PIL.Image.new("L", (WIDTH, HEIGHT)), "JPEG")
    frame = whole.index(b"\xff\xc0") + 5  # ITU T.81, B.2.2
    jpeg = whole[:frame] + (20_000).to_bytes(2, "big") * 2 + whole[frame + 4 :]
    for wrong in (png, jpeg):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"of {WIDTH}x{HEIGHT} pixels"):
            batch_in_graph[1]([wrong])
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"of {WIDTH}x{HEIGHT} pixels"):
            batch_in_graph[1]([right, wrong])


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_a_graph_reads_any_exif(in_graph, tail):
    """A broken directory is no orientation, not the end."""
    content = _encoded(PIL.Image.new("L", (2, 3)), "JPEG")
    segment = b"Exif\0\0" + tail
    head = content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    assert in_graph[1](head + content[2:]).shape in ((3, 2, 1), (2, 3, 1))


@pytest.mark.parametrize("name", ["exif6.jpg", "grey16.png", "anim.png", "cmyk.jpg"])
def test_the_places_of_patches_are_those_a_viewer_shows(name):
    whole = read_image(CASES / name, 1).pixels
    seen = []

    def places(height: int, width: int) -> list[tuple[int, int]]:
        seen.append((height, width, 1))
        return [(height - 2, width - 3)]

    with open(CASES / name, "rb") as file:
        patches = read_patches(file, name, 1, (2, 3), places)
    assert seen == [whole.shape]
    np.testing.assert_array_equal(patches.pixels[0], whole[-2:, -3:])


@pytest.mark.parametrize("size", [(29, 1), (1, 29), (29, 29)])
def test_an_image_smaller_than_a_patch_is_named(size):
    with (
        open(CASES / "grey8.png", "rb") as file,
        pytest.raises(SmallImageError, match="28x28 pixels, smaller than a patch of"),
    ):
        read_patches(file, "grey8.png", 1, size, lambda height, width: [(0, 0)])
