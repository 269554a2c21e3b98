"""What the tests of classification share."""

import pytest


@pytest.fixture(autouse=True)
def _compiled_programs(compiled_programs):
    """Every job compiles its programs anew; most of these tests ask for the same few."""
