"""Connected components: documents that edges join, directly or by way of others."""

import numpy as np

EDGES_AT_ONCE = 2**19  # bounds the memory of `join`


def components(num: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int64 [num]: the smallest node of each node's component; left, right int [E] are edges.

    Each root goes to the smallest of its neighbours, again and again (Shiloach and Vishkin 1982).
    """
    parent = np.arange(num)
    while len(left):
        low = np.minimum(left, right)
        np.minimum.at(parent, left, low)
        np.minimum.at(parent, right, low)
        while True:
            above = parent[parent]
            if (above == parent).all():
                break
            parent = above
        left, right = parent[left], parent[right]
        apart = left != right
        left, right = left[apart], right[apart]
    return parent


def join(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Adds edges in place.

    Args:
        labels: int [N], the smallest node of each node's component so far; np.arange(N) at first.
        left, right: int [E].
    """
    for start in range(0, len(left), EDGES_AT_ONCE):
        part = slice(start, start + EDGES_AT_ONCE)
        ends = labels[left[part]], labels[right[part]]
        nodes, places = np.unique(np.concatenate(ends), return_inverse=True)
        left_places, right_places = np.split(places, 2)
        target = np.arange(len(labels), dtype=labels.dtype)
        target[nodes] = nodes[components(len(nodes), left_places, right_places)]
        labels[:] = target[labels]
