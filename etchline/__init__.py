"""etchline: metal lines from SEM images of chips, judged by electrically significant differences.

Rooms, from the inside out: `errors`, `storage`, `images`, `layouts`, `datasets` and `contours`, then
`synthesis`, `segmentation` and `evaluation`, which do not know each other, then `cli`.
Importing this package imports none of them.
"""

__version__ = "0.1.0"
