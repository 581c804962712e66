"""The networks asked about an image: views cut, prompted and segmented, and one blended map of each role."""

import numpy as np
import numpy.typing as npt

from etchline.backends.interface import Backend, Role
from etchline.segmentation.prompting import Prompt, PromptSettings, place_prompt
from etchline.segmentation.tiling import Patch, tile
from etchline.segmentation.views import Answer, FieldLevels, ViewMap, cut_full, cut_patch

Uint8Array = npt.NDArray[np.uint8]

_KINDS: dict[Role, int] = {"full": 0, "patch": 1}


class AskedViews:
    """Cuts the views of a field, prompts them and has them segmented.

    Args:
        levels: of the field.
        backend: runs the networks.
        prompt: of all views.
        full_view_px: edge of the full model's views; `None`: the whole field is one view.
        min_overlap: least overlap of neighbouring views, as a share of a view.
    """

    def __init__(
        self,
        levels: FieldLevels,
        backend: Backend,
        prompt: PromptSettings,
        full_view_px: int | None,
        min_overlap: float,
    ) -> None:
        self.levels = levels
        self._backend = backend
        self._prompt = prompt
        self._full_view_px = full_view_px
        self._min_overlap = min_overlap
        full_px = backend.view_px("full") if "full" in backend.roles else None
        self.patch_px = backend.view_px("patch") if "patch" in backend.roles else (full_px or 2) // 2

    def tiles(self, role: Role) -> list[list[Patch]]:
        """The views of a role, row by row."""
        height, width = self.levels.height, self.levels.width
        view_px = self.patch_px if role == "patch" else self._full_view_px or max(height, width, 2)
        return tile(height, width, view_px, self._min_overlap)

    def map(self, role: Role) -> ViewMap:
        """The blended map of a role."""
        return ViewMap(self.tiles(role), lambda views: self._segment(role, views))

    def _segment(self, role: Role, views: list[Patch]) -> list[Answer]:
        edge_px, cut = self._backend.view_px(role), cut_patch if role == "patch" else cut_full
        images = np.stack([cut(self.levels, view.box_xyxy, edge_px) for view in views])
        prompts = [
            place_prompt(image, (_KINDS[role], view.row, view.column), self._prompt)
            for image, view in zip(images, views, strict=True)
        ]
        probability_bhw, score_b = self._infer(role, images, prompts)
        answers = []
        for view, map_hw, score in zip(views, probability_bhw, score_b, strict=True):
            x0, y0, x1, y1 = view.box_xyxy
            own_hw = map_hw[: y1 - y0, : x1 - x0] if role == "patch" else map_hw
            answers.append(Answer(view.box_xyxy, np.ascontiguousarray(own_hw), float(score)))
        return answers

    def _infer(
        self, role: Role, images: Uint8Array, prompts: list[Prompt]
    ) -> tuple[Uint8Array, npt.NDArray[np.float32]]:
        """Views with as many points as each other go together."""
        probability_bhw, score_b = np.empty_like(images), np.empty(len(images), np.float32)
        counts = np.array([len(prompt.labels) for prompt in prompts])
        for count in np.unique(counts):
            chosen = np.flatnonzero(counts == count)
            points_xy = np.stack([prompts[index].points_xy for index in chosen])
            labels = np.stack([prompts[index].labels for index in chosen])
            found = self._backend.infer(role, images[chosen], points_xy, labels)
            probability_bhw[chosen], score_b[chosen] = found
        return probability_bhw, score_b
