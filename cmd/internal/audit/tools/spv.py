"""Checks a proof in Bitcoin with python3-bitcoinlib: python3 tools/spv.py anchors/N/bitcoin.json checkpoint.body"""
import hashlib, json, sys
import bitcoin
from bitcoin.core import CBlockHeader, CTransaction, CheckBlockHeader, Hash, b2lx

proof = json.load(open(sys.argv[1]))
digest = hashlib.sha256(open(sys.argv[2], "rb").read()).digest()
bitcoin.SelectParams({"testnet4": "testnet"}.get(proof["network"], proof["network"]))
header = CBlockHeader.deserialize(bytes.fromhex(proof["header"]))
tx = CTransaction.deserialize(bytes.fromhex(proof["tx"]))
if not any(bytes(out.scriptPubKey) == b"\x6a\x20" + digest for out in tx.vout):
    sys.exit("no output commits to the checkpoint's body")
h, index = tx.GetTxid(), proof["index"]
for sibling in proof["branch"]:
    s = bytes.fromhex(sibling)
    h = Hash(s + h) if index & 1 else Hash(h + s)
    index >>= 1
if index or h != header.hashMerkleRoot:
    sys.exit("the branch does not lead to the block's Merkle root")
before = None
for raw in [proof["header"]] + proof["following"]:
    x = CBlockHeader.deserialize(bytes.fromhex(raw))
    CheckBlockHeader(x, fCheckPoW=True)
    if before is not None and x.hashPrevBlock != before:
        sys.exit("a header does not follow the one before")
    before = x.GetHash()
print("in block %s, made at %d, with %d headers of proof of work" % (b2lx(header.GetHash()), header.nTime, 1 + len(proof["following"])))
