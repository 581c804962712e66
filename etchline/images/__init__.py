"""Images: every format to one form, windows, masks, microscope metadata, atomic writers."""

from etchline.images.formats import IMAGE_SUFFIXES, MAX_PIXELS, is_image_path
from etchline.images.masks import binarise, read_mask
from etchline.images.reading import SemImage, image_size, open_image, read_image
from etchline.images.source import (
    ArraySink,
    ArraySource,
    GreyArray,
    ImageMetadata,
    RowSink,
    WindowSource,
    bands,
)
from etchline.images.writing import IndexedPicture, encode_png, open_sink, write_image, write_picture

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ArraySink",
    "ArraySource",
    "GreyArray",
    "ImageMetadata",
    "IndexedPicture",
    "RowSink",
    "SemImage",
    "WindowSource",
    "bands",
    "binarise",
    "encode_png",
    "image_size",
    "is_image_path",
    "open_image",
    "open_sink",
    "read_image",
    "read_mask",
    "write_image",
    "write_picture",
]
