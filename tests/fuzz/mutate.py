"""Bytes and tables changed at random, as disks, copies and hands change them."""

import copy

import numpy as np

ODD = [
    None, True, False, 0, -1, 1, 1e308, -1e308, 1e-308, float("nan"), float("inf"), 10**30, "", "x",
    "a" * 300, "../x", "~", "é\x00", [], [1], ["x"], [[]], {}, {"low": 0.1}, {"low": 1, "high": 2},
    {"choices": [1, 1]}, {"a": {"b": 1}},
]  # fmt: skip


def changed_bytes(whole, draw):
    """Return bytes with a few of them flipped, overwritten, cut out, doubled or cut off."""
    data = bytearray(whole)
    for _ in range(int(draw.integers(1, 5))):
        if not data:
            break
        at, length = int(draw.integers(len(data))), int(draw.integers(1, 64))
        kind = draw.choice(["flip", "set", "cut", "double", "end", "number"])
        if kind == "flip":
            data[at] ^= 1 << int(draw.integers(8))
        elif kind == "set":
            data[at : at + length] = bytes([int(draw.integers(256))]) * len(data[at : at + length])
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "end":
            del data[at:]
        else:
            size = int(draw.choice([2, 4, 8]))
            number = int(draw.choice([0, 1, 2**15, 2**31 - 1, 2**31, 2**63 - 1]))
            data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(data)


def changed_table(table, draw):
    """Return a table with one to three of its values replaced, dropped or added."""
    table = copy.deepcopy(table)
    for _ in range(int(draw.integers(1, 4))):
        where = table
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if not keys:
                break
            key = keys[int(draw.integers(len(keys)))]
            inner = where[key]
            if isinstance(inner, dict | list) and inner and draw.random() < 0.7:
                where = inner
                continue
            kind = draw.choice(["odd", "drop", "rename"])
            if kind == "odd":
                where[key] = ODD[int(draw.integers(len(ODD)))]
            elif kind == "drop":
                del where[key]
            elif isinstance(where, dict):
                where[f"{key}s"] = where.pop(key)
            break
    return table


def changed_arrays(arrays, draw):
    """Return arrays of which one or two have other values, another type, shape or name."""
    arrays = dict(arrays)
    for _ in range(int(draw.integers(1, 3))):
        if not arrays:
            break
        name = str(draw.choice(list(arrays)))
        array = np.asarray(arrays[name])
        kind = draw.choice(["value", "type", "shape", "drop", "short", "odd"])
        if kind == "value" and array.size and array.dtype.kind in "fiu":
            array = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype, copy=True)
            odd = [np.nan, np.inf, -1, 1e300, 0] if array.dtype.kind == "f" else [0, 1, 127]
            array.reshape(-1)[int(draw.integers(array.size))] = odd[int(draw.integers(len(odd)))]
            arrays[name] = array
        elif kind == "type":
            kinds = ["i1", "u8", "f4", "f8", "U5", "S5", "bool", "c16", "M8[s]"]
            with np.errstate(all="ignore"):
                try:
                    arrays[name] = array.astype(kinds[int(draw.integers(len(kinds)))])
                except (ValueError, TypeError, OverflowError):
                    arrays[name] = np.zeros(array.shape, "U3")
        elif kind == "shape":
            shapes = [array.reshape(-1), array[None], array.reshape(-1, 1), array.reshape(-1)[:0]]
            arrays[name] = shapes[int(draw.integers(len(shapes)))]
        elif kind == "drop":
            del arrays[name]
        elif kind == "short" and array.ndim:
            arrays[name] = array[:-1]
        else:
            arrays[name] = np.array([np.nan, 3.0][int(draw.integers(2))])
    return arrays
