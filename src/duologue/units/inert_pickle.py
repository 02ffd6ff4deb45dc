"""Arrays out of a pickle that is not trusted: nothing that it names is imported or called, but what makes arrays.

Reads what `pickle.dump` and `joblib.dump` write of a fitted scikit-learn model, packed by zlib, gzip or not, whichever
version wrote it; neither package is needed. Every other class becomes an `Inert` that holds its attributes.
"""

from __future__ import annotations

import pickle
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_PACKED = (b"\x78", b"\x1f\x8b")
"""How files of zlib and of gzip begin."""
_EITHER = 47
"""What zlib calls unpacking both."""
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
    **{
        (f"numpy.{core}.{module}", name): called
        for core in ("core", "_core")
        for module, name, called in (
            ("multiarray", "_reconstruct", np.empty(1).__reduce__()[0]),
            ("multiarray", "scalar", np.float64(0).__reduce__()[0]),
            ("numeric", "_frombuffer", np.empty(1).__reduce_ex__(5)[0]),
        )
    },
}
"""What arrays, numbers and bytes call when they are unpickled, under the names of old and new versions."""


class Inert:
    """In the place of an object whose class is not known: its attributes, and nothing that does anything."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _JoblibArray(Inert):
    """joblib's note that the array itself lies in the file, right behind."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str

    def read(self, file: BytesIO) -> np.ndarray[Any, Any]:
        if self.dtype.hasobject:
            raise pickle.UnpicklingError("an array of objects in it")
        if "numpy_array_alignment_bytes" in self.__dict__:
            file.read(file.read(1)[0])
        count = int(np.prod(self.shape, dtype=np.int64))
        flat = np.frombuffer(file.read(count * self.dtype.itemsize), self.dtype)
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C")


class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), _JoblibArray if name == "NumpyArrayWrapper" else Inert)

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        if isinstance(self.stack[-1], _JoblibArray):
            self.stack[-1] = self.stack[-1].read(self._file)

    dispatch[pickle.BUILD[0]] = load_build


def unpickled(path: str | Path) -> Any:
    """What the file holds. Raises FileNotFoundError; ValueError for what is no such pickle."""
    packed = Path(path).read_bytes()
    try:
        return _Unpickler(BytesIO(zlib.decompress(packed, _EITHER) if packed.startswith(_PACKED) else packed)).load()
    except Exception as error:
        raise ValueError(f"{path}: not a pickle of plain values and arrays ({error!r})") from error
