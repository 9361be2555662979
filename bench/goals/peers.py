"""The peers, each as one call per step over the same named tensors."""

from __future__ import annotations

import io
import itertools
import logging
import pickle
from pathlib import Path

import numpy as np

_NUMBER = itertools.count()


def _path(folder: Path, suffix: str) -> Path:
    return folder / f"peer-{next(_NUMBER)}{suffix}"


class SmdebugWriter:
    """smdebug's FileWriter: one event file and one index file per step."""

    name = "smdebug FileWriter"

    def __init__(self, folder: Path) -> None:
        logging.getLogger("smdebug").setLevel(logging.ERROR)
        from smdebug.core.modes import ModeKeys
        from smdebug.core.writer import FileWriter

        self._writer, self._mode = FileWriter, ModeKeys.TRAIN
        self.folder = _path(folder, "-smdebug")
        self._step = 0

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        writer = self._writer(trial_dir=str(self.folder), worker="worker_0", step=self._step)
        for name, array in arrays.items():
            writer.write_tensor(array, name, mode=self._mode, mode_step=self._step)
        writer.flush()
        writer.close()
        self._step += 1


class PickleWriter:
    """pickle protocol 5, one file per step."""

    name = "pickle protocol 5 per step"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        path = _path(self.folder, ".pickle")
        with path.open("wb") as file:
            pickle.dump(arrays, file, protocol=5)
        path.unlink()


class SafetensorsWriter:
    """safetensors.numpy.save_file, one file per step."""

    name = "safetensors per step"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save_file

        path = _path(self.folder, ".safetensors")
        save_file(arrays, path)
        path.unlink()


class NpzWriter:
    """numpy.savez, one file per step."""

    name = "npz per step"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        path = _path(self.folder, ".npz")
        np.savez(path, **{name.replace("/", "_"): array for name, array in arrays.items()})
        path.unlink()


class Hdf5Writer:
    """h5py, one group per step in one file, libver latest."""

    name = "HDF5, group per step"

    def __init__(self, folder: Path) -> None:
        import h5py

        self._file = h5py.File(_path(folder, ".h5"), "w", libver="latest")
        self._step = 0

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        group = self._file.create_group(str(self._step))
        for name, array in arrays.items():
            group.create_dataset(name.replace("/", "_"), data=array)
        self._file.flush()
        self._step += 1


class TensorBoardWriter:
    """torch.utils.tensorboard.SummaryWriter.add_scalar for each value, then flush."""

    name = "TensorBoard SummaryWriter.add_scalar"

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = _path(folder, "-tensorboard")
        self._writer = SummaryWriter(str(self.folder))
        self._step = 0

    def write(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, self._step)
        self._step += 1

    def flush(self) -> None:
        self._writer.flush()

    def histogram(self, array: np.ndarray) -> None:
        self._writer.add_histogram("h", array, self._step)
        self._step += 1


def numpy_reductions(array: np.ndarray) -> list[float]:
    """smdebug's 18 reductions plus NaN and Inf counts, as NumPy does them; |x| computed once."""
    absolute = np.abs(array)
    out: list[float] = []
    for values in (array, absolute):
        out += [values.min(), values.max(), values.mean(), values.std(), values.var(), values.sum(), values.prod()]
    flat = array.ravel()
    out += [np.linalg.norm(flat, 1), np.linalg.norm(flat, 2), np.isnan(array).sum(), np.isinf(array).sum()]
    return out


def torch_reductions(tensor: object) -> list[float]:
    """The same with torch."""
    import torch

    assert isinstance(tensor, torch.Tensor)
    absolute = tensor.abs()
    out = []
    for values in (tensor, absolute):
        out += [values.min(), values.max(), values.mean(), values.std(), values.var(), values.sum(), values.prod()]
    out += [tensor.norm(1), tensor.norm(2), tensor.isnan().sum(), tensor.isinf().sum()]
    return [value.item() for value in out]


def buffer_size(values: object) -> int:
    """Bytes of a pickle of `values`."""
    buffer = io.BytesIO()
    pickle.dump(values, buffer, protocol=5)
    return buffer.tell()
