from dataclasses import replace

import pytest

from etchline.errors import SettingsError
from etchline.network.sizes import SIZES, network_size


def test_official_sizes_take_1024_px_and_patches_of_512():
    for name in ("tiny", "small", "base_plus", "large"):
        size = network_size(name)
        assert (size.input_px, size.patch_px, size.embedding_px, size.logit_px) == (1024, 512, 64, 256)


def test_nano_takes_256_px_and_patches_of_128():
    size = network_size("nano")
    assert (size.input_px, size.patch_px, size.embedding_px, size.logit_px) == (256, 128, 16, 64)


def test_an_unknown_size_names_the_choices():
    with pytest.raises(
        SettingsError, match="network size huge: choose one of nano, tiny, small, base_plus, large"
    ):
        network_size("huge")


@pytest.mark.parametrize("input_px", [0, -32, 100])
def test_input_must_divide_by_32(input_px):
    with pytest.raises(SettingsError, match=f"input_px={input_px} must be a multiple of 32"):
        replace(SIZES["nano"], input_px=input_px)
