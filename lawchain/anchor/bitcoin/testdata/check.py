"""Judges Bitcoin proofs and .ots files with python3-bitcoinlib and python3-opentimestamps, independently of VaultMesh.

Reads lines of JSON {"proof": text or null, "ots": hexadecimal or null, "digest": hexadecimal, "network": name} and answers
each with {"proof": "ok" or what is wrong, "ots": the same}.
"""
import hashlib
import json
import sys

import bitcoin
from bitcoin.core import CBlockHeader, CheckProofOfWork, CTransaction, Hash
from bitcoin.core.script import OP_RETURN
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation
from opentimestamps.core.op import OpSHA256
from opentimestamps.core.serialize import BytesDeserializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile


def header_of(text):
    header = CBlockHeader.deserialize(bytes.fromhex(text))
    CheckProofOfWork(header.GetHash(), header.nBits)
    return header


def check_proof(text, digest):
    p = json.loads(text)
    header = header_of(p["header"])
    raw = bytes.fromhex(p["tx"])
    tx = CTransaction.deserialize(raw)
    assert tx.serialize() == raw, "the transaction has another serialization"
    data = [list(o.scriptPubKey)[1] for o in tx.vout if list(o.scriptPubKey)[0] == OP_RETURN]
    assert data == [digest], "the transaction does not commit to the digest"
    node, index = tx.GetTxid(), p["index"]
    for sibling in p["branch"]:
        sibling = bytes.fromhex(sibling)
        node = Hash(sibling + node) if index & 1 else Hash(node + sibling)
        index >>= 1
    assert index == 0 and node == header.hashMerkleRoot, "the branch does not lead to the root"
    before = header.GetHash()
    for text in p["following"]:
        following = header_of(text)
        assert following.hashPrevBlock == before, "a header does not follow"
        before = following.GetHash()
    return header, p["height"]


def check_ots(data, digest, header, height):
    stamp = DetachedTimestampFile.deserialize(BytesDeserializationContext(data))
    assert isinstance(stamp.file_hash_op, OpSHA256) and stamp.file_digest == digest, "the file stamps something else"
    found = 0
    for message, attestation in stamp.timestamp.all_attestations():
        assert isinstance(attestation, BitcoinBlockHeaderAttestation), "an attestation of another kind"
        assert attestation.height == height, "another height"
        attestation.verify_against_blockheader(message, header)
        found += 1
    assert found == 1, "not one attestation"


def verdict(check, *args):
    try:
        return "ok", check(*args)
    except Exception as e:  # a refusal of the libraries, whatever its type
        return f"{type(e).__name__}: {e}", None


for line in sys.stdin:
    case = json.loads(line)
    bitcoin.SelectParams(case["network"])
    digest = bytes.fromhex(case["digest"])
    answer = {"proof": "", "ots": ""}
    answer["proof"], result = verdict(check_proof, case["proof"], digest)
    if case["ots"] is not None:
        # The header against which the .ots is judged is always that of the good proof: it is what a verifier looks up.
        header, height = check_proof(case["good"], bytes.fromhex(case["good_digest"]))
        answer["ots"], _ = verdict(check_ots, bytes.fromhex(case["ots"]), digest, header, height)
    print(json.dumps(answer), flush=True)
