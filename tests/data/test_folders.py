"""Every kind of image file becomes uint8 [H, W, 3]; what is no image is named and refused."""
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from add.data import files, folders
from add.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY_16 = np.array([[0, 257, 32768], [65535, 65000, 128]], dtype=np.uint16)
GREY_16_AS_8 = [[0, 1, 128], [255, 253, 0]]  # value * 255 / 65535, rounded


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def mixed(tmp_path):
    """Two good images, a text file named .png and a cut-off PNG."""
    save(tmp_path / "a_1.png", RGB)
    save(tmp_path / "b_1.png", RGB)
    (tmp_path / "c_text.png").write_text("not an image at all")
    whole = (tmp_path / "a_1.png").read_bytes()
    (tmp_path / "d_cut.png").write_bytes(whole[:len(whole) // 2])
    return tmp_path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "A.PNG"])
def test_lossless_files_keep_their_pixels(tmp_path, name):
    np.testing.assert_array_equal(folders.read_image(save(tmp_path / name, RGB)), RGB)


def test_jpeg_is_close(tmp_path):
    smooth = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    image = folders.read_image(save(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(image.astype(int) - smooth).max() < 16


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_scaled_by_the_types_range(tmp_path, name):
    image = folders.read_image(save(tmp_path / name, GREY_16))
    for channel in range(3):
        assert image[..., channel].tolist() == GREY_16_AS_8


def test_big_endian_16_bit_tiff(tmp_path):
    big_endian = Image.frombytes("I;16B", (3, 2), GREY_16.astype(">u2").tobytes())
    big_endian.save(tmp_path / "a.tif")
    assert folders.read_image(tmp_path / "a.tif")[..., 0].tolist() == GREY_16_AS_8


def test_32_bit_pixels_are_refused_because_their_range_is_unknown(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="no known range"):
        folders.read_image(tmp_path / "a.tif")


def test_grey_becomes_three_equal_channels(tmp_path):
    image = folders.read_image(save(tmp_path / "a.png", RGB[..., 0]))
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=-1))


def test_palette_keeps_its_colours(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2] = (200, 10, 30)
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(folders.read_image(tmp_path / "a.png"), pixels)


def test_transparency_lies_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    image = folders.read_image(save(tmp_path / "a.png", pixels))
    assert image.tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]


def test_transparent_palette_entry_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert folders.read_image(tmp_path / "a.png").tolist() == [[[255, 255, 255], [50, 60, 70]]]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image = folders.read_image(save(tmp_path / "a.png", RGB, exif=exif))
    np.testing.assert_array_equal(image, np.rot90(RGB, -1))


@pytest.mark.parametrize("name", ["c_text.png", "d_cut.png", "missing.png"])
def test_what_is_no_whole_image_is_named(mixed, name):
    with pytest.raises(UserError, match=f"{name}.*expected a whole PNG"):
        folders.read_image(mixed / name)


def test_one_message_names_every_bad_file(mixed):
    with pytest.raises(UserError, match="2 of 4 files") as caught:
        folders.read_folder(folders.list_images(mixed), 4)
    message = str(caught.value)
    assert "c_text.png: not an image" in message and "d_cut.png" in message and "--skip_bad" in message


def test_skip_bad_leaves_them_out_and_tells(mixed):
    images, kept, bad = folders.read_folder(folders.list_images(mixed), 4, skip_bad=True)
    assert images.shape == (2, 4, 4, 3) and images.dtype == np.uint8
    assert [path.rpartition("/")[2] for path in kept] == ["a_1.png", "b_1.png"]
    assert [path.rpartition("/")[2] for path, _ in bad] == ["c_text.png", "d_cut.png"]
    assert all(reason for _, reason in bad)


def test_skipping_everything_is_refused(mixed):
    with pytest.raises(UserError, match="2 of 2"):
        folders.read_folder([str(mixed / "c_text.png"), str(mixed / "d_cut.png")], 4, skip_bad=True)


def test_images_of_their_own_size(tmp_path):
    save(tmp_path / "a.png", RGB)
    images, _, _ = folders.read_folder(folders.list_images(tmp_path), 4, crop="none")
    np.testing.assert_array_equal(images[0], RGB)


def test_listing_is_sorted_and_takes_only_images(tmp_path):
    for name in ("b.JPG", "a.png", "c.tiff", ".hidden.png", "contact_sheet.png", "notes.txt", "png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.bmp").write_bytes(b"")
    names = [path.rpartition("/")[2] for path in folders.list_images(tmp_path)]
    assert names == ["a.png", "b.JPG", "c.tiff"]
    assert len(folders.list_images(tmp_path, recursive=True)) == 4


def test_folders_that_give_no_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        folders.list_images(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no images"):
        folders.list_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        folders.list_images(tmp_path / "a.png")


def test_a_folder_of_folders_gets_a_hint(tmp_path):
    (tmp_path / "benign").mkdir()
    with pytest.raises(UserError, match="subfolders .benign"):
        folders.list_images(tmp_path)


def test_domains_are_the_subfolders(tmp_path):
    for domain in ("stage_2", "stage_1"):
        (tmp_path / domain).mkdir()
        save(tmp_path / domain / "x.png", RGB)
    domains = folders.list_domains(tmp_path)
    assert list(domains) == ["stage_1", "stage_2"]
    assert [len(paths) for paths in domains.values()] == [1, 1]
    with pytest.raises(UserError, match="no subfolders"):
        folders.list_domains(tmp_path / "stage_1")


def test_class_is_the_name_before_the_first_underscore():
    labels, names = folders.labels_from_names(["/x/dog_1_a.png", "/x/cat_2.png", "y_y/dog_3.png"])
    assert labels.tolist() == [1, 0, 1] and names == ["cat", "dog"]
    with pytest.raises(UserError, match="expected CLASS_NAME.png"):
        folders.labels_from_names(["/x_y/dog.png"])


def test_16_bit_colour_is_scaled_too(tmp_path):
    """Pillow reads such files but writes none, so the PNG is put together by hand."""
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    row = np.array([[65535, 32768, 0], [257, 65000, 128]], dtype=">u2").tobytes()
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b""))
    assert folders.read_image(tmp_path / "a.png").tolist() == [[[255, 128, 0], [1, 253, 0]]]


def test_remote_folders_read_like_local_ones(tmp_path, monkeypatch):
    """blobfile also takes local paths, so its calls can be tried without a network."""
    monkeypatch.setattr(files, "is_url", lambda path: True)
    folder = str(tmp_path / "store")
    for domain in ("a", "b"):
        (tmp_path / "store" / domain).mkdir(parents=True)
        files.save_png(f"{folder}/{domain}/x.png", RGB)
    assert folders.list_images(folder, recursive=True) == [f"{folder}/a/x.png", f"{folder}/b/x.png"]
    assert folders.list_domains(folder) == {"a": [f"{folder}/a/x.png"], "b": [f"{folder}/b/x.png"]}
    np.testing.assert_array_equal(folders.read_image(f"{folder}/a/x.png"), RGB)
    assert folders.read_header(f"{folder}/a/x.png") == RGB.shape[:2]
    with pytest.raises(UserError, match="holds no images"):
        folders.list_images(folder)


def test_a_folder_of_domains_has_subfolders_and_no_images(tmp_path):
    assert not folders.holds_domains(tmp_path)
    (tmp_path / "gland").mkdir()
    (tmp_path / "notes.txt").touch()
    assert folders.holds_domains(tmp_path)
    save(tmp_path / "a.png", RGB)
    assert not folders.holds_domains(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        folders.holds_domains(tmp_path / "nowhere")
