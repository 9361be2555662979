"""Adds up JUnit files: prints `PASSED FAILED SKIPPED`, and each skip with its reason on stderr.

A file that is missing or damaged counts as one failure: whoever should have written it died.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter


def outcome(case: ET.Element) -> str:
    """What became of one test case, for pytest's and ctest's dialect."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def reason(case: ET.Element) -> str:
    """Why a case was skipped."""
    skipped = case.find("skipped")
    text = (skipped.get("message") or "") if skipped is not None else ""
    if text.startswith("SKIP_") or not text:
        # ctest names the pattern; the reason is in the output, on GoogleTest's line after the place.
        lines = (case.findtext("system-out") or "").split("\n")
        after = [lines[i + 1] for i, line in enumerate(lines[:-1]) if line.endswith("Skipped")]
        text = after[0].strip() if after else text
    return text or "no reason given"


def main(paths: list[str]) -> int:
    """Counts the cases of all files."""
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            cases = list(ET.parse(path).getroot().iter("testcase"))
        except (OSError, ET.ParseError) as error:
            print(f"no result: {path}: {error}", file=sys.stderr)
            counts["failed"] += 1
            continue
        for case in cases:
            kind = outcome(case)
            counts[kind] += 1
            if kind == "skipped":
                print(f"skipped: {case.get('name')}: {reason(case)}", file=sys.stderr)
    print(counts["passed"], counts["failed"], counts["skipped"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
