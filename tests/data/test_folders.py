"""What a folder of images holds, subfolders included; what can't be listed or read is named and refused."""
import os

import numpy as np
import pytest
from PIL import Image

from add.data import files, folders
from add.data.image_file import read_header, read_image
from add.data.read_images import read_folder
from add.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


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


def test_one_message_names_every_bad_file(mixed):
    with pytest.raises(UserError, match="2 of 4 files") as caught:
        read_folder(folders.list_images(mixed), 4)
    message = str(caught.value)
    assert "c_text.png: not an image" in message and "d_cut.png" in message and "--skip_bad" in message


def test_skip_bad_leaves_them_out_and_tells(mixed):
    images, kept, bad = read_folder(folders.list_images(mixed), 4, skip_bad=True)
    assert images.shape == (2, 4, 4, 3) and images.dtype == np.uint8
    assert [path.rpartition("/")[2] for path in kept] == ["a_1.png", "b_1.png"]
    assert [path.rpartition("/")[2] for path, _ in bad] == ["c_text.png", "d_cut.png"]
    assert all(reason for _, reason in bad)


def test_skipping_everything_is_refused(mixed):
    with pytest.raises(UserError, match="2 of 2"):
        read_folder([str(mixed / "c_text.png"), str(mixed / "d_cut.png")], 4, skip_bad=True)


def test_images_of_their_own_size(tmp_path):
    save(tmp_path / "a.png", RGB)
    images, _, _ = read_folder(folders.list_images(tmp_path), 4, crop="none")
    np.testing.assert_array_equal(images[0], RGB)


def touch(root, *names):
    """Make empty files, and the folders for them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def listed(folder):
    return [files.relative_name(folder, path) for path in folders.list_images(folder)]


def test_listing_is_sorted_and_takes_only_images(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "c.tiff", "d.webp", ".hidden.png", "contact_sheet.png", "notes.txt", "png")
    assert listed(tmp_path) == ["a.png", "b.JPG", "c.tiff", "d.webp"]


def test_images_below_a_folder_are_its_images(tmp_path):
    touch(tmp_path, "a.png", "slide2/b.png", "slide1/deep/c.png", "slide1/d.png")
    assert listed(tmp_path) == ["a.png", "slide1/d.png", "slide1/deep/c.png", "slide2/b.png"]
    assert listed(tmp_path / "slide1") == ["d.png", "deep/c.png"]


@pytest.mark.parametrize("remote", [False, True])
def test_hidden_files_and_folders_are_passed_over_at_every_level(tmp_path, monkeypatch, remote):
    touch(tmp_path, "a.png", ".ipynb_checkpoints/a.png", "s/b.png", "s/.ipynb_checkpoints/b.png", "s/._b.png",
          "s/.cache/deep/c.png", "__MACOSX/s/b.png", "s/@eaDir/b.png/SYNOPHOTO_THUMB_M.jpg")
    monkeypatch.setattr(files, "is_url", lambda path: remote)
    assert listed(str(tmp_path)) == ["a.png", "s/b.png"]


def test_a_link_that_leads_back_up_ends(tmp_path):
    touch(tmp_path, "a.png", "s/b.png")
    (tmp_path / "s" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert listed(tmp_path) == ["a.png", "s/b.png"]


@pytest.mark.parametrize(("kind", "written"), [
    ("a training run", ["config.json", "progress.csv", "samples/samples000010.png"]),
    ("a translation", ["images/a_m01.png", "records/settings.json", "overview.png"]),
    ("an evaluation", ["evaluation.json", "closest.png"]), ("a study", ["study.json", "scores.png", "train/a/x.png"])])
def test_results_of_this_program_are_no_images(tmp_path, kind, written):
    touch(tmp_path, "mild/a.png", *(f"mild/out/{name}" for name in written))
    assert listed(tmp_path / "mild") == ["a.png"]
    with pytest.raises(UserError, match=f"out is {kind} that this program wrote, expected a folder of images: give"):
        folders.list_images(tmp_path / "mild" / "out")
    (tmp_path / "mild" / "a.png").unlink()
    with pytest.raises(UserError, match="mild holds no images.*this program wrote out in it"):
        folders.list_images(tmp_path / "mild")


def test_samples_are_images_where_there_are_no_others(tmp_path):
    touch(tmp_path, *(f"mild/{seed}/{name}" for seed in "01"
                      for name in ("sample_000000.png", "contact_sheet.png", "settings.json", "records/000000.json")))
    assert listed(tmp_path / "mild" / "0") == ["sample_000000.png"]
    assert listed(tmp_path / "mild") == ["0/sample_000000.png", "1/sample_000000.png"]
    touch(tmp_path, "mild/a.png")
    assert listed(tmp_path / "mild") == ["a.png"]


def test_names_that_are_not_utf8_are_refused(tmp_path):
    touch(tmp_path, "slide/a.png")
    strange = os.fsencode(tmp_path / "slide") + b"/gr\xf6\xdfe.png"
    try:
        open(strange, "wb").close()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(UserError, match=r"1 of 2 image names are not UTF-8, the first is slide/gr.xf6.xdfe.png"):
        folders.list_images(tmp_path)
    with pytest.raises(UserError, match="not UTF-8"):
        folders.list_domains(tmp_path)


@pytest.mark.parametrize(("name", "message"), [
    ("a.svs", "a whole-slide image.* cut it into tiles"), ("a.NPZ", "a file of arrays"), ("a.pt", "a file of weights"),
    ("a.tar.gz", "an archive.* unpack it"), ("train.tsv", "a table.* folder, one for each domain"),
    ("a.dcm", "a medical scan"), ("a.heic", "an image of a kind that is not read"), ("a.webp", "a file, one image"),
    ("README", "a file: expected a folder of images; give the folder that holds")])
def test_what_is_given_in_place_of_a_folder_is_named(tmp_path, name, message):
    touch(tmp_path, f"data/{name}")
    with pytest.raises(UserError, match=f"{name} is {message}"):
        folders.list_images(tmp_path / "data" / name)
    if name not in ("a.webp", "README"):
        with pytest.raises(UserError, match=rf"data holds no images.*1 of its files end in \..*{message}"):
            folders.list_images(tmp_path / "data")


def test_files_beside_images_are_counted_by_kind(tmp_path):
    touch(tmp_path, "a.png", "groups.csv", "contact_sheet.png", ".hidden.txt")
    assert folders.say_others(tmp_path) == ""
    touch(tmp_path, "s/notes.TXT", "s/more.txt", "s/slide.svs", "README", "out/study.json", "out/scores.html")
    assert folders.say_others(tmp_path) == ("4 files are no image and passed over: 2 .txt (a table), 1 no ending, "
                                            "1 .svs (a whole-slide image)")
    touch(tmp_path / "s" / "t", "x.gif")
    assert folders.say_others(tmp_path / "s" / "t") == ("1 file is no image and passed over: 1 .gif (an image of a "
                                                        "kind that is not read)")
    touch(tmp_path / "many", *(f"x.k{i}" for i in range(7)))
    assert folders.say_others(tmp_path / "many").endswith("1 .k4, 2 other kinds")


def test_folders_that_give_no_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        folders.list_images(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no images"):
        folders.list_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        folders.list_images(tmp_path / "a.png")


def test_a_sentence_tells_of_subfolders():
    assert folders.say_subfolders(["a.png"]) == ""
    assert folders.say_subfolders(["a.png", "s1/b.png", "s2/c/d.png"]) == \
        "3 images, 2 of them in its subfolders s1, s2"
    assert folders.say_subfolders([f"s{i}/b.png" for i in range(7)]) == \
        "7 images, all of them in its subfolders s0, s1, s2, s3, s4 and 2 more"


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


def test_classes_by_name_and_by_folder_are_not_mixed(tmp_path):
    touch(tmp_path, "dog_1.png", "cat_1.png")
    paths, labels, names = folders.list_named_classes(tmp_path)
    assert len(paths) == 2 and labels.tolist() == [0, 1] and names == ["cat", "dog"]
    touch(tmp_path, "bird/bird_1.png")
    with pytest.raises(UserError, match="3 images, 1 of them in its subfolders bird: expected either"):
        folders.list_named_classes(tmp_path)


def test_remote_folders_read_like_local_ones(tmp_path, monkeypatch):
    """blobfile also takes local paths, so its calls can be tried without a network."""
    monkeypatch.setattr(files, "is_url", lambda path: True)
    folder = str(tmp_path / "store")
    for domain in ("a", "b"):
        (tmp_path / "store" / domain).mkdir(parents=True)
        files.save_png(f"{folder}/{domain}/x.png", RGB)
    assert folders.list_images(folder) == [f"{folder}/a/x.png", f"{folder}/b/x.png"]
    assert folders.list_domains(folder) == {"a": [f"{folder}/a/x.png"], "b": [f"{folder}/b/x.png"]}
    np.testing.assert_array_equal(read_image(f"{folder}/a/x.png"), RGB)
    assert read_header(f"{folder}/a/x.png") == RGB.shape[:2]
    with pytest.raises(UserError, match="holds no images"):
        folders.list_images(str(touch(tmp_path, "texts/notes.txt") / "texts"))


def test_a_folder_of_domains_has_subfolders_and_no_images(tmp_path):
    assert not folders.holds_domains(tmp_path)
    (tmp_path / "gland").mkdir()
    (tmp_path / "notes.txt").touch()
    assert folders.holds_domains(tmp_path)
    save(tmp_path / "a.png", RGB)
    assert not folders.holds_domains(tmp_path)
    touch(tmp_path, "run/config.json", "run/progress.csv", "run/samples/samples000010.png")
    assert not folders.holds_domains(tmp_path / "run")
    with pytest.raises(UserError, match="does not exist"):
        folders.holds_domains(tmp_path / "nowhere")
