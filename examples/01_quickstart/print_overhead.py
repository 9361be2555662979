"""Prints one line of `wheeltapper show --json`: name, measured overhead, over how many steps, where the report is."""

from __future__ import annotations

import json
import sys

run = json.load(sys.stdin)
overhead = run["overhead"]
# As `wheeltapper show` spells it.
share = f"{overhead['fraction'] * 100:.2f} % of step time" if overhead["elapsed_s"] > 0 else "not measured"
print(f"  {run['name']:<22} overhead {share}, {run['steps']:,} steps   {run['path']}/report/report.html")
