"""The exceptions for what a person can put right.

Library functions raise `InputError` for bad input (a missing folder, a damaged image, a fraction of zero). The
scripts print its message as one line and exit with status 2; every other exception is a defect in this package and
keeps its traceback.
"""


class InputError(ValueError):
    """Bad input; the message says what was received, what is allowed and what to do."""


class Incomplete(Exception):
    """A job did what it could, but some of its inputs failed; the message says how many, and where they are listed.

    The scripts print it as one line and exit with status 1.
    """
