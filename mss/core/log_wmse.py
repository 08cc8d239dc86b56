"""The one place that imports torch-log-wmse, which the loss and the metric of its name share."""

from typing import Any

from mss.core.errors import ConfigError


def import_torch_log_wmse(key: str) -> Any:
    """Return the module torch_log_wmse.

    Args:
        key: of the configuration that asks for it, for the message.

    Raises:
        ConfigError: the package, which is an extra, can't be imported.
    """
    try:
        import torch_log_wmse
    # torchaudio, which it wants for its resampler, fails in the loader where it is of another torch
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"{key}: log_wmse can't be used ({error}); install it by "
            'pip install "stemgrid[log-wmse]", with a torchaudio of the version of torch'
        ) from error
    return torch_log_wmse
