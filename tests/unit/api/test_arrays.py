"""Arrays as they come: kinds, byte orders, and what is no recording."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from mss.api.arrays import from_tensor, to_tensor
from mss.core.errors import DataError

VALUES = [[0.0, 0.25, -1.5], [1.0, -0.5, 2.0]]  # exact in half precision


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "longdouble"])
def test_every_floating_point_type_and_byte_order(dtype: str) -> None:
    audio = np.array(VALUES, dtype=dtype)
    mix = to_tensor(audio)
    assert mix.dtype == torch.float32
    assert mix.tolist() == VALUES
    back = from_tensor(mix, audio)
    assert back.dtype == audio.dtype
    assert back.tolist() == VALUES


def test_views_and_arrays_that_cannot_be_written() -> None:
    audio = np.array(VALUES, dtype=np.float32)
    assert to_tensor(audio[::-1, ::-2]).tolist() == [[2.0, 1.0], [-1.5, 0.0]]
    audio.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_tensor(audio).tolist() == VALUES


def test_a_tensor_that_learns_is_detached() -> None:
    mix = to_tensor(torch.tensor(VALUES, dtype=torch.float64, requires_grad=True))
    assert (mix.dtype, mix.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize(
    ("audio", "fault"),
    [
        ([[0.0, 0.0]], "is a list; give a torch tensor or a numpy array"),
        (None, "is a NoneType"),
        (torch.zeros(100), r"is \[100\] of torch.float32"),
        (np.zeros((2, 9), np.int16), "of int16"),
        (np.zeros((2, 9), ">i2"), "of >i2"),
        (np.zeros((2, 9), complex), "of complex128"),
        (np.array([["a"]]), "of <U1"),
        (np.zeros((44100, 2)), r"of 44100 channels \(is it transposed\?\)"),
        (torch.zeros(44100, 2), r"of 44100 channels \(is it transposed\?\)"),
        (torch.zeros(0, 2), "of 0 channels; give"),
        (np.array([[0.0, np.nan]]), "holds a NaN or an infinity"),
        (np.array([[0.0, 1e300]]), "holds a NaN or an infinity"),
        (torch.tensor([[0.0, 1e300]], dtype=torch.float64), "holds a NaN or an infinity"),
    ],
)
def test_what_is_no_recording_is_refused(audio: Any, fault: str) -> None:
    with pytest.raises(DataError, match=f"^like: .*{fault}") as told:
        to_tensor(audio, "like")
    assert "NaN" in fault or "[channels, samples] of floats, full scale 1.0" in str(told.value)


def test_short_recordings_of_many_channels_are_not_taken_for_transposed() -> None:
    assert to_tensor(torch.zeros(8, 0)).shape == (8, 0)
    assert to_tensor(torch.zeros(6, 1)).shape == (6, 1)
