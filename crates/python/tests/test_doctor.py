"""`lazulite.doctor`: planted waste is found on its line, and a clean program is left alone."""

import json
import subprocess
import sys

import pytest

# A finding costs a hundredth of the program at least, of which importing NumPy is a good part.
PREAMBLE = """
import lazulite.core as mx
import numpy as np
x = mx.ones((4096, 16)); mx.eval(x)
h = mx.ones((1 << 23,), dtype=mx.float16); w = mx.ones((1 << 23,)); mx.eval(h, w)
m = mx.ones((16, 16)); mx.eval(m)
row = np.ones(4096, dtype=np.float32); place = mx.array([3])
"""

PLANTED = {
    "evaluations in a loop": """
for i in range(4096):
    y = (x[i] * 2).sum()
    mx.eval(y)  # here
""",
    "reads in a loop": """
total = 0.0
for i in range(4096):
    total += x[i].sum().item()  # here
""",
    "recompilation": """
f = mx.compile(lambda x: mx.sin(x * 2).sum())
for n in range(1, 1000):
    y = f(mx.zeros((n,)))  # here
    mx.eval(y)
""",
    "promotion to float32": """
y = h * w  # here
mx.eval(y)
""",
    "host copies in a loop": """
rows = []
for i in range(4096):
    rows.append(mx.array(row))  # here
mx.eval(mx.stack(rows))
""",
    "an idle device": """
import time
for i in range(200):
    time.sleep(0.01)
    mx.eval(m @ m)  # here
""",
    "an unbatched loop": """
rows = [x[i].at[place].add(1.0) for i in range(4096)]
mx.eval(rows)  # here
""",
}

CLEAN = """
a = mx.ones((512, 512))
for _ in range(6):
    a = mx.tanh((a @ a) * 1e-3)
mx.eval(a)
"""


def doctor(tmp_path, program, *options):
    script = tmp_path / "program.py"
    script.write_text(PREAMBLE + program)
    command = [sys.executable, "-m", "lazulite.doctor", "--json", *options, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = enumerate((PREAMBLE + program).splitlines(), 1)
    here = [i for i, line in lines if line.endswith("# here")]
    findings = json.loads(done.stdout)["findings"]
    return [f for f in findings if f["file"] == str(script)], here


@pytest.mark.parametrize("waste", PLANTED)
def test_planted_waste_is_found_on_its_line(tmp_path, waste):
    findings, here = doctor(tmp_path, PLANTED[waste])
    hits = [f for f in findings if f["waste"] == waste and f["line"] in here]
    assert hits, findings
    assert hits[0]["seconds"] > 0 and hits[0]["mend"] and hits[0]["claims"].startswith("C")


def test_a_clean_program_is_left_alone(tmp_path):
    findings, _ = doctor(tmp_path, CLEAN)
    assert findings == []


def test_the_trace_opens(tmp_path):
    trace = tmp_path / "trace.json"
    doctor(tmp_path, CLEAN, "--trace", str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    assert any(e["ph"] == "X" and e["name"] == "evaluation" for e in events)


def test_the_program_ends_as_it_would(tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(3)\n")
    command = [sys.executable, "-m", "lazulite.doctor", str(script), "--flag", "value"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and done.stdout == "['--flag', 'value']\n"
