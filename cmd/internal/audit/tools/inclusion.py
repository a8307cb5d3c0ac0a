"""Checks C2SP tlog-proofs of receipts against the checkpoint beside them: python3 tools/inclusion.py receipts/*.tlog-proof"""
import base64, sys
from merkle import checkpoint, leaf_hash, root_from_inclusion

size, root = checkpoint("checkpoint")
note = open("checkpoint", encoding="utf-8").read()
for name in sys.argv[1:]:
    text = open(name, encoding="utf-8").read()
    head, sep, inner = text.partition("\n\n")
    lines = head.split("\n")
    if not lines[0].startswith("c2sp.org/tlog-proof@v1") or inner != note:
        sys.exit(name + ": not a tlog-proof to this checkpoint")
    index = int(lines[1].removeprefix("index "))
    path = [base64.b64decode(line, validate=True) for line in lines[2:]]
    envelope = open(name.removesuffix(".tlog-proof") + ".dsse.json", "rb").read()
    if root_from_inclusion(leaf_hash(envelope), index, size, path) != root:
        sys.exit(name + ": the log does not hold this receipt at index %d" % index)
print("%d receipts are in the log of size %d with root sha256:%s" % (len(sys.argv) - 1, size, root.hex()))
