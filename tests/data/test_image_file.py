"""Every kind of image file becomes uint8 [H, W, 3]; what is no single image is named and refused."""
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import AppendingTiffWriter

from add.data.image_file import read_file, read_header, read_image
from add.data.value_range import Range
from add.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY_16 = np.array([[0, 257, 32768], [65535, 65000, 128]], dtype=np.uint16)
GREY_16_AS_8 = [[0, 1, 128], [255, 253, 0]]  # value * 255 / 65535, rounded
OME = '<OME><Image><Pixels SizeC="{}" SizeT="1" SizeX="9" SizeY="6" SizeZ="{}" Type="uint8"/>{}</Image></OME>'
DESCRIPTION, MAX_SAMPLE_VALUE, NEW_SUBFILE_TYPE = 270, 281, 254


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def save_pages(path, pages, description="", **tags):
    """Write a TIFF with a page for each uint8 [H, W], the description in the first; tags_1={...} for the second."""
    with AppendingTiffWriter(path, True) as file:
        for number, page in enumerate(pages):
            told = {DESCRIPTION: description} if description and number == 0 else {}
            Image.fromarray(page).save(file, format="TIFF", tiffinfo=told | tags.get(f"tags_{number}", {}))
            file.newFrame()
    return path


def save_wide_colours(path, row):
    """Write a PNG of one row of colours with 16 bits; Pillow reads such files but writes none."""
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", len(row), 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + np.array(row, dtype=">u2").tobytes())) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG"])
def test_lossless_files_keep_their_pixels(tmp_path, name):
    np.testing.assert_array_equal(read_image(save(tmp_path / name, RGB)), RGB)


def test_jpeg_is_close(tmp_path):
    smooth = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    image = read_image(save(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(image.astype(int) - smooth).max() < 16


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_scaled_by_the_types_range(tmp_path, name):
    image = read_image(save(tmp_path / name, GREY_16))
    for channel in range(3):
        assert image[..., channel].tolist() == GREY_16_AS_8


def test_big_endian_16_bit_tiff(tmp_path):
    big_endian = Image.frombytes("I;16B", (3, 2), GREY_16.astype(">u2").tobytes())
    big_endian.save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[..., 0].tolist() == GREY_16_AS_8


def test_32_bit_pixels_are_refused_because_their_range_is_unknown(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="no known range"):
        read_image(tmp_path / "a.tif")


def test_grey_becomes_three_equal_channels(tmp_path):
    image = read_image(save(tmp_path / "a.png", RGB[..., 0]))
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=-1))


def test_palette_keeps_its_colours(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2] = (200, 10, 30)
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


def test_transparency_lies_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    image = read_image(save(tmp_path / "a.png", pixels))
    assert image.tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]


def test_transparent_palette_entry_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 255, 255], [50, 60, 70]]]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image = read_image(save(tmp_path / "a.png", RGB, exif=exif))
    np.testing.assert_array_equal(image, np.rot90(RGB, -1))


@pytest.mark.parametrize("name", ["c_text.png", "d_cut.png", "missing.png"])
def test_what_is_no_whole_image_is_named(tmp_path, name):
    (tmp_path / "c_text.png").write_text("not an image at all")
    whole = save(tmp_path / "a.png", RGB).read_bytes()
    (tmp_path / "d_cut.png").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match=f"{name}.*expected a whole PNG"):
        read_image(tmp_path / name)


def test_16_bit_colour_is_scaled_too(tmp_path):
    path = save_wide_colours(tmp_path / "a.png", [[65535, 32768, 0], [257, 65000, 128]])
    assert read_image(path).tolist() == [[[255, 128, 0], [1, 253, 0]]]


def test_webp_is_read(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.webp", RGB, lossless=True)), RGB)


def test_jpeg_2000_is_read(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.jp2", RGB, irreversible=False)), RGB)
    found = read_file(save(tmp_path / "b.jp2", GREY_16, irreversible=False))
    assert found.pixels[..., 0].tolist() == GREY_16_AS_8 and found.range == Range(16, 16)


def test_another_kind_of_file_is_no_image_whatever_its_name(tmp_path):
    """The first frame of a GIF would be another image than the animation."""
    Image.fromarray(RGB).save(tmp_path / "a.png", format="GIF")
    with pytest.raises(UserError, match="a.png as an image .not an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_every_orientation_is_turned_as_pillow_does(tmp_path, turn, name):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = save(tmp_path / name, RGB, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.asarray(ImageOps.exif_transpose(Image.open(path))))


@pytest.mark.parametrize("description", [
    OME.format(3, 1, ""), "ImageJ=1.54f\nimages=3\nchannels=3\nmode=composite\n",
    json.dumps({"axes": "CYX", "shape": [3, 6, 9]}),
    OME.format(3, 1, '<Channel Color="-16776961"/><Channel Color="16711935"/><Channel Color="65535"/>')])
def test_three_pages_that_are_channels_are_colours(tmp_path, description):
    path = save_pages(tmp_path / "a.tif", RGB.transpose(2, 0, 1), description)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert read_header(path) == (6, 9)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16"])
def test_a_png_says_its_size_at_once_where_it_begins_as_most_do(tmp_path, mode, monkeypatch):
    """Without Pillow; one with a long text before its pixels, or a damaged header, is left to Pillow."""
    image = Image.new(mode, (9, 6))
    text = PngInfo()
    text.add_text("note", "x" * 5000)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "long.png", pnginfo=text)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16] ^= 1  # the width, whose checksum no longer fits
    (tmp_path / "broken.png").write_bytes(content)
    assert read_header(tmp_path / "a.png") == read_header(tmp_path / "long.png") == (6, 9)
    monkeypatch.setattr("add.data.image_file._size", None)
    assert read_header(tmp_path / "a.png") == (6, 9)
    for name in ("long.png", "broken.png"):
        with pytest.raises(UserError, match="cannot read"):
            read_header(tmp_path / name)


@pytest.mark.parametrize(("count", "description", "message"), [
    (3, "", "a stack of 3 pages"), (3, OME.format(1, 3, ""), "a stack of 3 pages"),
    (3, "ImageJ=1.54f\nimages=3\nslices=3\n", "a stack of 3 pages"),
    (1, "ImageJ=1.54f\nimages=40\nframes=40\n", "a stack of 40 pages"),
    (6, OME.format(3, 2, ""), "a stack of 6 pages"), (4, OME.format(4, 1, ""), "holds 4 channels"),
    (2, "ImageJ=1.54f\nimages=2\nchannels=2\n", "holds 2 channels"),
    (1, OME.format(3, 1, ""), r"holds 3 channels \(1 pages\)"),
    (3, OME.format(3, 1, '<Channel Color="65535"/><Channel Color="16711935"/>'), "shown in other colours")])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_other_pages_are_refused_instead_of_reading_the_first(tmp_path, count, description, message, read):
    path = save_pages(tmp_path / "stack.tif", np.zeros((count, 6, 9), dtype=np.uint8), description)
    with pytest.raises(UserError, match=f"stack.tif .*{message}.* save "):
        read(path)


def test_smaller_copies_and_masks_are_no_further_pages(tmp_path):
    path = save_pages(tmp_path / "a.tif", [RGB[..., 0], RGB[::2, ::2, 0], RGB[..., 1]],
                      tags_1={NEW_SUBFILE_TYPE: 1}, tags_2={NEW_SUBFILE_TYPE: 4})
    np.testing.assert_array_equal(read_image(path)[..., 2], RGB[..., 0])


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_an_animation_is_refused(tmp_path, name):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="an animation of 2 frames"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("tag", [{MAX_SAMPLE_VALUE: 4095}, {DESCRIPTION: '<OME><Pixels SignificantBits="12"/></OME>'}])
def test_the_range_that_a_file_names_is_its_scale(tmp_path, tag):
    path = save(tmp_path / "a.tif", np.array([[0, 2048, 4095]], dtype=np.uint16), tiffinfo=tag)
    found = read_file(path)
    assert found.pixels[..., 0].tolist() == [[0, 128, 255]] and found.range == Range(12, 12)


def test_an_images_own_largest_value_is_no_scale(tmp_path):
    """Some programs enter it as MaxSampleValue; scaled by it, a dark image would look like a bright one."""
    path = save(tmp_path / "a.tif", np.array([[0, 900]], dtype=np.uint16), tiffinfo={MAX_SAMPLE_VALUE: 900})
    assert read_image(path)[..., 0].tolist() == [[0, 4]]  # 900 * 255 / 65535 = 3.5


def test_values_above_the_named_range_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 5000]], dtype=np.uint16), tiffinfo={MAX_SAMPLE_VALUE: 4095})
    with pytest.raises(UserError, match="values go to 5000, and the file says that they end at 4095"):
        read_image(path)


def test_white_may_be_zero_with_16_bits_too(tmp_path):
    path = save(tmp_path / "a.tif", GREY_16, tiffinfo={262: 0})
    stored = Image.open(path)
    assert stored.tag_v2[262] == 0  # Pillow kept the tag, and leaves the values as they are
    assert read_image(path)[..., 0].tolist() == (255 - np.array(GREY_16_AS_8)).tolist()


def test_the_bits_that_values_need_are_told(tmp_path):
    assert read_file(save(tmp_path / "a.png", GREY_16 // 16)).range == Range(16, 12)
    assert read_file(save(tmp_path / "b.png", RGB // 8)).range == Range(8, 5)
    assert read_file(save_wide_colours(tmp_path / "c.png", [[4095, 0, 300]])).range == Range(16, 12)
