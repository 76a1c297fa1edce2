#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts test cases in what a test runner left behind.

usage: tally.py meson TESTLOG.JSON SUITE...     prints "SUITE PASSED FAILED SKIPPED" for each suite
       tally.py pytest JUNIT.XML                prints "PASSED FAILED SKIPPED"

A Criterion or TAP program counts as its single cases, any other program as one.  A log that is missing, cut or without any
case is a failure: silence must not look like success.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml

SYNTHESIS = re.compile(r"Tested:\D*(\d+) \| Passing:\D*(\d+) \| Failing:\D*(\d+)(?: \| Crashing:\D*(\d+))?")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TAP = re.compile(r"^(not ok|ok)\b(.*)$", re.M)


def cases(test):
    """(passed, failed, skipped) of one program."""
    result = test["result"]
    text = COLOUR.sub("", (test.get("stdout") or "") + "\n" + (test.get("stderr") or ""))
    good = result in ("OK", "EXPECTEDFAIL")

    if result == "SKIP":
        return 0, 0, 1
    passed = failed = skipped = 0
    for tested, passing, failing, crashing in SYNTHESIS.findall(text):
        passed += int(passing)
        failed += int(failing) + int(crashing or 0)
        skipped += int(tested) - int(passing) - int(failing) - int(crashing or 0)
    if not passed + failed and re.search(r"^1\.\.\d+", text, re.M):
        for verdict, rest in TAP.findall(text):
            if "# skip" in rest.lower():
                skipped += 1
            elif verdict == "ok":
                passed += 1
            else:
                failed += 1
    if not passed + failed:
        return (1, 0, skipped) if good else (0, 1, skipped)
    if not good and not failed:
        failed = 1      # all cases passed and the program did not: a leak, a time limit
    return passed, failed, skipped


def meson(path, suites):
    sums = {suite: [0, 0, 0] for suite in suites}

    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            tests = [json.loads(line) for line in f if line.strip()]
    except (OSError, ValueError):
        tests = []
    for test in tests:
        # "project:suite+suite / test"
        names = test.get("name", "").split(" / ")[0].split(":")[-1].split("+")
        for suite in suites:
            if suite in names:
                sums[suite] = [a + b for a, b in zip(sums[suite], cases(test))]
                break
    for suite, (passed, failed, skipped) in sums.items():
        if not passed + failed + skipped:
            failed = 1
        print(suite, passed, failed, skipped)


def pytest(path):
    passed = failed = skipped = 0

    try:
        for suite in xml.parse(path).getroot().iter("testsuite"):
            n, bad, skip = (int(suite.get(k, 0)) for k in ("tests", "failures", "skipped"))
            bad += int(suite.get("errors", 0))
            # An error in a fixture's end comes on top of the case that passed.
            passed += max(0, n - bad - skip)
            failed += bad
            skipped += skip
    except (OSError, xml.ParseError):
        failed = 1
    if not passed + failed:
        failed = 1
    print(passed, failed, skipped)


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "meson":
        meson(sys.argv[2], sys.argv[3:])
    elif len(sys.argv) == 3 and sys.argv[1] == "pytest":
        pytest(sys.argv[2])
    else:
        sys.exit(__doc__)
