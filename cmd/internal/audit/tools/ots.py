"""Checks an OpenTimestamps file with python3-opentimestamps against the header in the proof beside it:
python3 tools/ots.py anchors/N/bitcoin.ots anchors/N/bitcoin.json checkpoint.body"""
import hashlib, json, sys
from bitcoin.core import CBlockHeader, b2lx
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation
from opentimestamps.core.serialize import StreamDeserializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile

stamp = DetachedTimestampFile.deserialize(StreamDeserializationContext(open(sys.argv[1], "rb")))
digest = hashlib.sha256(open(sys.argv[3], "rb").read()).digest()
header = CBlockHeader.deserialize(bytes.fromhex(json.load(open(sys.argv[2]))["header"]))
if stamp.file_digest != digest:
    sys.exit("the stamp is about another file")
found = 0
for message, attestation in stamp.timestamp.all_attestations():
    if isinstance(attestation, BitcoinBlockHeaderAttestation):
        attestation.verify_against_blockheader(message, header)
        found += 1
if not found:
    sys.exit("no attestation of a Bitcoin block")
print("stamped by block %s at height %d" % (b2lx(header.GetHash()), attestation.height))
