"""Pixel size, detector and tilt of every vendor; records that do not fit the picture."""

import math

import numpy as np
import pytest
import tifffile
from PIL import Image

from etchline.images import ImageMetadata, open_image, read_image
from etchline.images.metadata import parse_fei, parse_zeiss
from etchline.images.sidecar import parse_hitachi, parse_jeol
from etchline.images.vendor import length_nm, number, size_pair, text_value
from tests.images.sem_drawings import bar, field

FEI = """[User]\r
Date=08/02/2026\r
[System]\r
SystemType=Helios NanoLab\r
[Beam]\r
HV=5000\r
Beam=EBeam\r
Scan=EScan\r
[EBeam]\r
StageTa={tilt}\r
[Scan]\r
PixelWidth={pixel}\r
PixelHeight={pixel}\r
[EScan]\r
PixelWidth={pixel}\r
[Stage]\r
StageT={tilt}\r
[Image]\r
ResolutionX={columns}\r
ResolutionY={rows}\r
[Detectors]\r
Number=1\r
Name=TLD\r
Mode=SE\r
"""

ZEISS = """0
0
DP_DETECTOR_CHANNEL
Signal A = InLens
DP_IMAGE_STORE
Store resolution = 1024 * 768
AP_PIXEL_SIZE
Pixel Size = 99.00 nm
AP_IMAGE_PIXEL_SIZE
Image Pixel Size = {size}
AP_STAGE_AT_T
Stage at T = {tilt} °
AP_DATE
Date :24 Mar 2026
"""

HITACHI = """[SemImageFile]
InstructName=SU8000
DataSize=1280x960
PixelSize=4.961
SignalName=SE(U)
AcceleratingVoltage=5000 Volt
StagePositionT=0
"""

JEOL = """$CM_FORMAT SemImageFormat
$CM_TITLE die 3
$CM_FULL_SIZE 1280 960
$CM_SIGNAL SEI
$CM_MAG 30000
$$SM_MICRON_BAR 94
$$SM_MICRON_MARKER 1um
$CM_STAGE_POS 16.5407 19.9220 11.0355 0.5 12.5 0
"""


def save(path, height=96, width=128, tag=None, text=None):
    tags = [] if tag is None else [(tag, "s", 0, text.encode("cp1252"), True)]
    tifffile.imwrite(path, np.zeros((height, width), np.uint8), photometric="minisblack", extratags=tags)
    return path


@pytest.mark.parametrize("tag", [34682, 34680])
def test_fei(tmp_path, tag):
    text = FEI.format(pixel="2.5e-009", tilt="0.90756", columns=128, rows=88)
    image = read_image(save(tmp_path / "a.tif", tag=tag, text=text))
    assert image.metadata.vendor == "fei"
    assert image.metadata.pixel_size_nm == pytest.approx(2.5)
    assert image.metadata.detector == "TLD"
    assert image.metadata.tilt_deg == pytest.approx(math.degrees(0.90756))
    assert image.field_rows == (0, 88)
    assert image.field_hw.shape == (88, 128)


def test_fei_without_a_bar(tmp_path):
    text = FEI.format(pixel="2.5e-009", tilt="0", columns=128, rows=96)
    image = read_image(save(tmp_path / "a.tif", tag=34682, text=text))
    assert image.field_rows == (0, 96)
    assert image.metadata.tilt_deg == 0


def test_fei_of_another_width_has_no_scale(tmp_path):
    text = FEI.format(pixel="2.5e-009", tilt="0", columns=256, rows=88)
    image = read_image(save(tmp_path / "a.tif", tag=34682, text=text))
    assert image.metadata == ImageMetadata(None, "TLD", 0.0, "fei")
    assert image.field_rows == (0, 96)


def test_fei_falls_back_to_the_beam_sections():
    record = parse_fei({"Beam": {"Beam": "IBeam", "Scan": "IScan"}, "IScan": {"PixelWidth": 1e-8},
                        "IBeam": {"StageTa": math.pi / 6}})  # fmt: skip
    assert record.pixel_size_nm == pytest.approx(10)
    assert record.tilt_deg == pytest.approx(30)


@pytest.mark.parametrize(("size", "expected"), [("2.791 nm", 2.791), ("1.25 µm", 1250.0), ("800 pm", 0.8)])
def test_zeiss(tmp_path, size, expected):
    image = read_image(save(tmp_path / "a.tif", tag=34118, text=ZEISS.format(size=size, tilt="36.0")))
    assert image.metadata.vendor == "zeiss"
    assert image.metadata.pixel_size_nm == pytest.approx(expected)
    assert image.metadata.detector == "InLens"
    assert image.metadata.tilt_deg == pytest.approx(36)


def test_zeiss_falls_back_to_the_other_fields():
    record = parse_zeiss(
        {"ap_pixel_size": ("Pixel Size", 7.5, "nm"), "dp_detector_type": ("Detector", "SE2")}
    )
    assert (record.pixel_size_nm, record.detector, record.tilt_deg) == (7.5, "SE2", None)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("suffix", [".txt", ".TXT"])
def test_hitachi_beside_the_image(tmp_path, encoding, suffix):
    Image.fromarray(np.zeros((960, 1280), np.uint8)).save(tmp_path / "a.bmp")
    text = HITACHI + ("Comment=5 µm\n" if encoding != "ascii" else "")
    (tmp_path / f"a{suffix}").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    with open_image(tmp_path / "a.bmp") as source:
        assert source.metadata == ImageMetadata(4.961, "SE(U)", None, "hitachi")


def test_hitachi_data_size_may_include_the_bar(tmp_path):
    picture = np.vstack([field(904, 1280), bar(1280, 56)])
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(HITACHI)
    assert read_image(tmp_path / "a.png").field_rows == (0, 904)


def test_hitachi_inside_the_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1000, 1280), np.uint8), description=HITACHI, metadata=None)
    image = read_image(tmp_path / "a.tif")
    assert image.metadata.pixel_size_nm == pytest.approx(4.961)
    assert image.field_rows == (0, 960)


def test_jeol_beside_the_image(tmp_path):
    Image.fromarray(np.zeros((1024, 1280), np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text(JEOL)
    image = read_image(tmp_path / "a.jpg")
    assert image.metadata.vendor == "jeol"
    assert image.metadata.pixel_size_nm == pytest.approx(1000 / 94)
    assert image.metadata.detector == "SEI"
    assert image.metadata.tilt_deg == 12.5
    assert image.field_rows == (0, 960)


@pytest.mark.parametrize(
    ("text", "pixel_size_nm", "tilt_deg"),
    [
        ("$CM_FIELD_OF_VIEW 12.8 9.6\n$CM_IMAGE_SIZE 1280 960\n", 10.0, None),
        ("$CM_PIXEL_SIZE 4.66nm\n$CM_STAGE_POSITION 1 2 3 4 5 6\n", 4.66, 5.0),
        ("$CM_PIXEL_SIZE 4.66\n", None, None),
        ("$$SM_MICRON_BAR 0\n$$SM_MICRON_MARKER 1um\n", None, None),
        ("$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 500 nm\n$CM_STAGE_POSITION X=1, Y=2, T=-3.5\n", 5.0, -3.5),
        ("$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 1 parsec\n", None, None),
        ("$CM_IMAGE_SIZE 0 0\n$CM_FIELD_OF_VIEW 1 1\n", None, None),
    ],
)
def test_jeol_variants(text, pixel_size_nm, tilt_deg):
    record = parse_jeol(text)
    assert record is not None
    assert record.pixel_size_nm == (None if pixel_size_nm is None else pytest.approx(pixel_size_nm))
    assert record.tilt_deg == tilt_deg


@pytest.mark.parametrize(
    "text", ["", "notes of the day\n", "PixelSize=4\n", "SM_MICRON_BAR 3\n", "[Other]\nPixelSize=4"]
)
def test_other_text_files_say_nothing(tmp_path, text):
    assert parse_hitachi(text) is None
    assert parse_jeol(text) is None
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(text)
    assert read_image(tmp_path / "a.png").metadata == ImageMetadata()


def test_a_huge_text_file_is_not_read(tmp_path):
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(HITACHI + "x" * 2**20)
    assert read_image(tmp_path / "a.png").metadata == ImageMetadata()


def test_an_unreadable_side_car_is_said(tmp_path, caplog, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(path)
    (tmp_path / "a.txt").write_text(HITACHI)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert read_image(path).metadata == ImageMetadata()
    assert "a.txt: cannot be read (Permission denied); the image's pixel size stays unknown" in caplog.text


def test_field_higher_than_the_picture_is_not_believed(tmp_path):
    text = FEI.format(pixel="2.5e-009", tilt="0", columns=128, rows=5000)
    assert read_image(save(tmp_path / "a.tif", tag=34682, text=text)).field_rows == (0, 96)


@pytest.mark.parametrize(
    "text", ["", "[Scan]\r\nPixelWidth=\r\n", "[Scan]\r\nPixelWidth=nan\r\n[Image]\r\nResolutionX=inf"]
)
def test_odd_fei_tags_say_nothing(tmp_path, text):
    image = read_image(save(tmp_path / "a.tif", tag=34682, text=text + "\0"))
    assert image.metadata.pixel_size_nm is None


def test_odd_tag_types_say_nothing(tmp_path):
    path = tmp_path / "a.tif"
    tags = [(34682, "H", 2, (1, 2), True), (34118, "d", 1, 3.0, True)]
    tifffile.imwrite(path, np.zeros((5, 6), np.uint8), extratags=tags)
    assert read_image(path).metadata.pixel_size_nm is None


def test_values():
    assert [number(value) for value in ("1.5e-9 m", -3, "+.5", "", None, "nan", "1e999", True)] == [
        1.5e-9, -3.0, 0.5, None, None, None, None, None,
    ]  # fmt: skip
    assert [length_nm(2.0, unit) for unit in ("nm", "um", "µm", "μm", "mm", "ly")] == [
        2.0, 2000.0, 2000.0, 2000.0, None, None,
    ]  # fmt: skip
    assert length_nm(None, "nm") is None
    assert text_value(" T1\x1b[31m\n up ") == "T1 [31m up"
    assert text_value("") is None
    assert size_pair("1280x960") == size_pair("1280 * 960") == size_pair("1280 960") == (960, 1280)
    assert size_pair("wide") is None
