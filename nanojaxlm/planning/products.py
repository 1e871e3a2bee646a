"""FLOPs of the products in a compiled program: 2 for each multiplication that is added up."""

import math
import re

import numpy as np

from nanojaxlm.planning.module import Instruction, Shape

_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_WINDOW = re.compile(r"window=\{([^}]*)\}")


def dot_flops(dot: Instruction, left: Shape) -> float:
    found = _CONTRACTED.search(dot.attributes)
    axes = [int(axis) for axis in found[1].split(",")] if found and found[1] else []
    return 2.0 * math.prod(dot.shapes[0].dims) * math.prod(left.dims[axis] for axis in axes)


def convolution_flops(convolution: Instruction, image: Shape, kernel: Shape) -> float:
    """On TPU every product is a convolution; its batch axes are spatial ones, padded and dilated so
    that all but the wanted pairs fall outside. Only pairs inside count, as in XLA's HloCostAnalysis
    (HandleConvolution)."""
    labels = _LABELS.search(convolution.attributes)
    assert labels is not None, convolution.attributes[:200]
    image_labels, kernel_labels, out_labels = labels.groups()
    out = convolution.shapes[0]
    window = _window(convolution.attributes)
    feature_groups = int(convolution.attribute("feature_group_count") or 1)
    batch_groups = int(convolution.attribute("batch_group_count") or 1)
    products = (
        image.dims[image_labels.index("f")] // feature_groups
        * kernel.dims[kernel_labels.index("o")]
        * (image.dims[image_labels.index("b")] // batch_groups)
    )  # fmt: skip
    for axis in range(len(image_labels) - 2):
        products *= _pairs_inside(
            image.dims[image_labels.index(str(axis))],
            kernel.dims[kernel_labels.index(str(axis))],
            out.dims[out_labels.index(str(axis))],
            **{name: values[axis] for name, values in window.items()},
        )
    return 2.0 * products


def _window(attributes: str) -> dict[str, list[int]]:
    """stride, pad (the lower), lhs_dilate, rhs_dilate, each where given: one a spatial axis."""
    found = _WINDOW.search(attributes)
    window = {}
    for item in found[1].split() if found else ():
        name, _, value = item.partition("=")
        if name in ("stride", "pad", "lhs_dilate", "rhs_dilate"):
            window[name] = [int(part.split("_")[0]) for part in value.split("x")]
    return window


def _pairs_inside(
    size: int,
    kernel: int,
    out: int,
    stride: int = 1,
    pad: int = 0,
    lhs_dilate: int = 1,
    rhs_dilate: int = 1,
) -> int:
    """Pairs of a result's and a kernel's place that meet an element, not padding or a gap."""
    places = np.arange(out)[:, None] * stride + np.arange(kernel)[None, :] * rhs_dilate - pad
    meets = (places >= 0) & (places % lhs_dilate == 0) & (places // lhs_dilate < size)
    return int(meets.sum())
