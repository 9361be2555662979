"""Reads `wheeltapper findings --json` and says whether the run got the verdict the demo promises.

python check_findings.py NAME -                 no finding at all
python check_findings.py NAME RULE [RULE ...]   at least one finding of these rules, complete
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    name, *expected = sys.argv[1:]
    findings = json.load(sys.stdin)
    if expected == ["-"]:
        for finding in findings:
            print(f"demo: {name} should be silent: {finding['rule']}: {finding['message']}", file=sys.stderr)
        return 1 if findings else 0
    for finding in findings:
        if finding["rule"] in expected and all(finding[key] for key in ("tensor", "module", "message", "cause", "try")):
            return 0
    print(f"demo: {name} has no complete finding of {', '.join(expected)}: {findings}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
