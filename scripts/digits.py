"""Writes scikit-learn's handwritten digits as CSV: 1,797 rows, each 64 pixels of 0 to 16 (8 x 8,
row by row), then the label 0 to 9. All values are integers and there is no header.

python scripts/digits.py OUT.csv
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    rows = np.column_stack([digits.data, digits.target]).astype(np.int64)
    part = out.with_suffix(".part")
    np.savetxt(part, rows, fmt="%d", delimiter=",")
    part.replace(out)
    print(f"{out}: {len(rows)} rows of {rows.shape[1] - 1} pixels and a label")


if __name__ == "__main__":
    main()
