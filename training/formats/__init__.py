"""Training files of other tools, written from snapshots and read back into labelled rows."""

from training.formats.imported import ImportedFile, read_training_file
from training.formats.kinds import ExportFormat, file_name
from training.formats.read import RecordProblem
from training.formats.write import write_training_file

__all__ = ["ExportFormat", "ImportedFile", "RecordProblem", "file_name", "read_training_file", "write_training_file"]
