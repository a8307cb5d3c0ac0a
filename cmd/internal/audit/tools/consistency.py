"""Checks that the checkpoints of a bundle are of one log that only grew: python3 tools/consistency.py anchors/*/consistency"""
import base64, os, sys
from merkle import checkpoint, consistent

size, root = checkpoint("checkpoint")
for name in sys.argv[1:]:
    beside = os.path.join(os.path.dirname(name), "checkpoint")
    if not os.path.exists(beside):
        continue  # for an auditor who knows the log's head at that size
    other, other_root = checkpoint(beside)
    lines = open(name, encoding="utf-8").read().split("\n")
    path = [base64.b64decode(line, validate=True) for line in lines[1:-1]]
    (a, ra), (b, rb) = sorted([(size, root), (other, other_root)])
    if lines[0] != "old %d" % a or not consistent(a, ra, b, rb, path):
        sys.exit(name + ": not one log")
    print("sizes %d and %d are of one log" % (a, b))
