"""NVIDIA's pickles: networks as inert records, their tensors as views of the file.

The official loader executes the source text that these files carry. Here a network becomes a record of its attributes,
and the text stays text.
"""

from __future__ import annotations

from typing import Any

from .contents import CheckpointError
from .machine import Budget, CorruptFile, RestrictedUnpickler
from .names import InertModule, network_names
from .storages import Storage
from .torch_files import read_archive, read_stream

__all__ = ["InertModule", "read_pickle"]


def read_pickle(data: memoryview, budget: Budget) -> Any:
    """The object pickled in `data`, networks being `InertModule` records.

    Raises:
        CheckpointError: the pickle asks for a name that is not on the list, or for too much.
        Damaged: it ends early or makes no sense.
    """

    def load_storage(payload: Any = None) -> Storage:
        # What torch.save wrote for one storage, as bytes within the pickle; it is read by the same rules.
        if isinstance(payload, bytes):
            budget.spend_copy(len(payload))
            payload = memoryview(bytearray(payload))
        if not isinstance(payload, memoryview):
            raise CorruptFile("a tensor without its bytes")
        read = read_archive if bytes(payload[:4]) == b"PK\x03\x04" else read_stream
        storage = read(payload, budget)
        if not isinstance(storage, Storage):
            raise CheckpointError("a tensor in it is no tensor. Take another copy from a source you trust.")
        return storage

    value, _ = RestrictedUnpickler(data, network_names(budget, load_storage), budget).run()
    return value
