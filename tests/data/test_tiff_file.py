"""TIFF files that tifffile writes become the colours that they hold, or are refused by what is unclear."""
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile

from add.data import ImageSet
from add.data.image_file import read_file, read_header, read_image
from add.data.value_range import Range
from add.errors import UserError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
PLANES = np.ascontiguousarray(RGB.transpose(2, 0, 1))
RGB_12 = RANDOM.integers(0, 4096, (6, 9, 3), dtype=np.uint16)
RGB_12[0, 0] = 4095, 0, 2048
FRACTIONS = RANDOM.random((6, 9, 3), dtype=np.float32)
FRACTIONS[0, 0] = 1, 0, 0.5
MAX_SAMPLE_VALUE, ORIENTATION = 281, 274


def save(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


def tags(**values):
    """Return extra tags of type SHORT for tifffile: tags(max=4095)."""
    number = {"max": MAX_SAMPLE_VALUE, "orientation": ORIENTATION}
    return [(number[name], "H", 1, value, True) for name, value in values.items()]


def scaled(values, top):
    return (values.astype(np.float64) * (255 / top)).round().astype(np.uint8)


@pytest.mark.parametrize("options", [
    {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True},
    {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True, "compression": "zlib"},
    {"photometric": "minisblack", "metadata": {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}},
     "ome": True},
    {"photometric": "minisblack", "metadata": {"axes": "CYX", "Channel": {"Name": ["C:0", "C:1", "C:2"]}}, "ome": True},
    {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, {"imagej": True, "metadata": {"axes": "CYX"}},
    {"photometric": "rgb", "planarconfig": "separate"}], ids=str)
def test_planes_that_are_the_colours(tmp_path, options):
    path = save(tmp_path / "field.ome.tif", PLANES, **options)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert read_header(path) == (6, 9) and len(ImageSet.from_folder(tmp_path, 4)) == 1


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_plain_colours_in_every_layout(tmp_path, bigtiff, byteorder):
    path = save(tmp_path / "a.tif", RGB, photometric="rgb", bigtiff=bigtiff, byteorder=byteorder)
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True},
                                     {"planarconfig": "separate"}, {"tile": (16, 16)}, {"rowsperstrip": 2}], ids=str)
def test_colours_of_a_12_bit_camera(tmp_path, options):
    values = RGB_12.transpose(2, 0, 1) if "planarconfig" in options else RGB_12
    found = read_file(save(tmp_path / "a.tif", values, photometric="rgb", extratags=tags(max=4095), **options))
    np.testing.assert_array_equal(found.pixels, scaled(RGB_12, 4095))
    assert found.range == Range(12, 12)
    assert read_header(tmp_path / "a.tif") == (6, 9)


def test_channels_of_a_12_bit_camera(tmp_path):
    path = save(tmp_path / "a.ome.tif", RGB_12.transpose(2, 0, 1), ome=True, photometric="minisblack",
                metadata={"axes": "CYX", "SignificantBits": 12})
    np.testing.assert_array_equal(read_image(path), scaled(RGB_12, 4095))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("options", [{"photometric": "rgb"}, {"photometric": "rgb", "compression": "zlib"},
                                     {"photometric": "minisblack"}], ids=str)
def test_fractions_are_scaled_from_0_to_1(tmp_path, kind, options):
    values = FRACTIONS if options["photometric"] == "rgb" else FRACTIONS[..., 0]
    found = read_file(save(tmp_path / "a.tif", values.astype(kind), **options))
    expected = scaled(values.astype(kind), 1).reshape(6, 9, -1) * np.ones(3, dtype=np.uint8)
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels[0, 0, 0] == 255 and found.range == Range(32, 32)
    assert read_header(tmp_path / "a.tif") == (6, 9)


def test_fractions_in_channels(tmp_path):
    path = save(tmp_path / "a.ome.tif", np.ascontiguousarray(FRACTIONS.transpose(2, 0, 1)), ome=True,
                photometric="minisblack", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(path), scaled(FRACTIONS, 1))


@pytest.mark.parametrize(("most", "used"), [(0.5, 31), (0.26, 31), (0.25, 30), (0.1, 29), (0, 0)])
def test_the_range_that_fractions_use_is_told(tmp_path, most, used):
    assert read_file(save(tmp_path / "a.tif", np.full((4, 4), most, np.float32))).range == Range(32, used)


@pytest.mark.parametrize(("most", "message"), [
    (255, "go from [0-9.e-]+ to 255, expected fractions from 0 to 1"), (-0.1, "go from -0.1 to"),
    (np.nan, "go from nan to nan")])
def test_other_floating_point_values_have_no_known_range(tmp_path, most, message):
    values = FRACTIONS.copy()
    values[1, 1, 1] = most
    for shape in (values, values[..., 1].copy()):
        with pytest.raises(UserError, match=f"a.tif.*floating-point values {message}"):
            read_image(save(tmp_path / "a.tif", shape, photometric="rgb" if shape.ndim == 3 else "minisblack"))


@pytest.mark.parametrize(("values", "options", "message"), [
    (PLANES, {"photometric": "minisblack"}, "a stack of 3 pages"),
    (PLANES, {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZYX"}},
     r"a stack of 3 pages \(1 channels, 3 slices or time points\)"),
    (PLANES, {"photometric": "minisblack", "ome": True,
              "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy3"]}}}, "called DAPI, FITC, Cy3"),
    (RGB, {"photometric": "minisblack", "planarconfig": "contig"}, "axes YXS, 6 x 9 x 3, shown as MINISBLACK"),
    (RGB[..., :2], {"photometric": "minisblack", "planarconfig": "contig"}, "a grey value and another"),
    (RGB_12[..., 0].astype(np.int16), {}, "no known range"), (RGB_12[..., 0].astype(np.uint32), {}, "no known range"),
    (RGB_12.astype(np.int16), {"photometric": "rgb"}, "int16 pixels have no known range"),
    (FRACTIONS, {"photometric": "rgb", "extratags": tags(orientation=6)}, "to be shown turned;")],
    ids=["IYX", "ZYX", "dyes", "YXS", "YXS2", "int16", "uint32", "signed colours", "turned"])
def test_what_is_unclear_is_refused_by_its_axes(tmp_path, values, options, message):
    with pytest.raises(UserError, match=f"a.tif .*{message}.*save "):
        read_image(save(tmp_path / "a.tif", np.ascontiguousarray(values), **options))


def test_channels_in_another_order_than_the_pages_are_refused(tmp_path):
    text = ('<OME><Image><Pixels SizeC="3" SizeT="1" SizeX="9" SizeY="6" SizeZ="1" Type="uint8">'
            '<TiffData FirstC="2" IFD="0"/><TiffData FirstC="1" IFD="1"/><TiffData FirstC="0" IFD="2"/>'
            '</Pixels></Image></OME>')
    save(tmp_path / "a.tif", PLANES, photometric="minisblack", description=text, metadata=None)
    with pytest.raises(UserError, match="channel 2 is page 0, expected channels in the order of pages"):
        read_image(tmp_path / "a.tif")


def test_planes_in_other_files_are_not_made_up(tmp_path):
    text = tifffile.tiffcomment(save(tmp_path / "a.ome.tif", FRACTIONS.transpose(2, 0, 1).copy(), ome=True,
                                     photometric="minisblack", metadata={"axes": "CYX"}))
    save(tmp_path / "a.ome.tif", FRACTIONS[..., 0].copy(), description=text, metadata=None)
    with pytest.raises(UserError, match=r"holds 3 channels \(1 pages\)"):
        read_image(tmp_path / "a.ome.tif")


def chain(pages, last=0, tag_bytes=0):
    """Return a TIFF of so many pages of 8 x 8 grey pixels; after the last one comes the offset `last`."""
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64), (700, 1, tag_bytes, 8)]
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    size = len(page) + 4
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + b"".join(
        page + struct.pack("<I", last if number == pages - 1 else 72 + size * (number + 1)) for number in range(pages))


@pytest.mark.parametrize(("content", "message"), [
    (chain(3, last=72), "its pages lead in a circle"), (chain(1, last=72), "its pages lead in a circle"),
    (chain(30_000), "has more than 1000 pages"), (chain(1, tag_bytes=10**6), "tags point at more than the file holds"),
    (chain(2, last=10**6)[:-100], "cannot read"), (b"II*\0", "cannot read"), (b"II*\0\x08\0\0\0", "cannot read")])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_a_tiff_that_would_keep_readers_busy_is_refused_at_once(tmp_path, content, message, read):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UserError, match=f"a.tif.*{message}|{message}.*a.tif"):
        read(tmp_path / "a.tif")


def test_the_chain_is_a_good_tiff_where_it_ends(tmp_path):
    (tmp_path / "a.tif").write_bytes(chain(1, tag_bytes=8))
    assert read_image(tmp_path / "a.tif").shape == (8, 8, 3)


def test_parts_that_unpack_to_too_much_are_refused(tmp_path):
    """Eight pixels that unpack to 50 MB."""
    save(tmp_path / "a.tif", FRACTIONS, photometric="rgb", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        where, counts = page.dataoffsets[0], page.tags["StripByteCounts"].valueoffset
    bomb = zlib.compress(bytes(50_000_000), 1)
    content = bytearray((tmp_path / "a.tif").read_bytes()[:where]) + bomb
    struct.pack_into("<I", content, counts, len(bomb))
    (tmp_path / "a.tif").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match="a.tif.*unpack to more than the image holds"):
        read_image(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_compression_that_is_not_read_is_named(tmp_path):
    content = io.BytesIO()
    tifffile.imwrite(content, FRACTIONS, photometric="rgb", compression="zlib", predictor=False)
    changed = content.getvalue().replace(struct.pack("<HHIH", 259, 3, 1, 8), struct.pack("<HHIH", 259, 3, 1, 5))
    (tmp_path / "a.tif").write_bytes(changed)
    with pytest.raises(UserError, match="float32 values are compressed with LZW.*save it without compression"):
        read_image(tmp_path / "a.tif")
