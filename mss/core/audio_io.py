"""Audio files, read and written: one place to import from.

`audio_read` and `audio_write` hold the parts; `audio` converts channels and sample rates.
"""

from mss.core.audio_formats import OUTPUT_FORMATS, OutputFormat, format_of, parse_format
from mss.core.audio_headers import AudioInfo
from mss.core.audio_read import AudioReader, audio_info, open_reader, read_audio
from mss.core.audio_write import AudioWriter, open_writer, write_audio

__all__ = [
    "OUTPUT_FORMATS",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "OutputFormat",
    "audio_info",
    "format_of",
    "open_reader",
    "open_writer",
    "parse_format",
    "read_audio",
    "write_audio",
]
