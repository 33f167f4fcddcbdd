"""What the tests of the deblenders share: a truth table of known positions."""

import numpy as np
import pytest
from astropy.table import Table


@pytest.fixture(scope="session")
def truth_of():
    def truth_of(*rows):
        """A truth table from (dx, dy, r_eff of the central galaxy)."""
        shift = {name: [[0, row[j]] for row in rows] for j, name in enumerate(("dx", "dy"))}
        r_eff = [[row[2], np.nan] for row in rows]
        return Table({"id": [[1, 2]] * len(rows), **shift, "r_eff": np.array(r_eff, float)})

    return truth_of
