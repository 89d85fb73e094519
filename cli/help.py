"""Help texts that several commands share."""

DEVICE = "auto (the first GPU, if there is one), cpu or cuda."
TEXT = "stdlib, prose, a file or folder, or - for standard input."
QUIET = "No progress and no provisional lines; the result and warnings alone."
