"""Prints one line of `wheeltapper show --json`: name, measured overhead, where the report is."""

from __future__ import annotations

import json
import sys

run = json.load(sys.stdin)
share = run["overhead"]["fraction"]
print(f"  {run['name']:<22} overhead {share:.2%} of step time   {run['path']}/report/report.html")
