// Checks a proof in Ethereum with the libraries of EthereumJS (npm install @ethereumjs/mpt):
// node tools/ethereum.mjs anchors/N/ethereum.json checkpoint.body
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { verifyMerkleProof } from "@ethereumjs/mpt";
import { RLP } from "@ethereumjs/rlp";
import { bytesToHex, hexToBytes } from "@ethereumjs/util";
import { keccak_256 } from "@noble/hashes/sha3.js";

const check = (ok, text) => { if (!ok) { console.error(text); process.exit(1); } };
const proof = JSON.parse(readFileSync(process.argv[2], "utf8"));
const digest = "0x" + createHash("sha256").update(readFileSync(process.argv[3])).digest("hex");

const header = RLP.decode(hexToBytes(proof.header));
const nodes = proof.nodes.map(hexToBytes);
check(bytesToHex(keccak_256(nodes[0])) === bytesToHex(header[5]), "the first node is not the root of the block's receipts");
const value = await verifyMerkleProof(RLP.encode(proof.transaction), nodes);
check(value, "the block has no such receipt");
const receipt = RLP.decode(value[0] < 0xc0 ? value.slice(1) : value);
check(bytesToHex(receipt[0]) === "0x01", "the transaction was reverted");
const [contract, topics] = receipt[3][proof.log];
check(bytesToHex(topics[0]) === digest, "the event does not name the checkpoint's body");
let hash = bytesToHex(keccak_256(hexToBytes(proof.header)));
const block = hash;
for (const raw of proof.descendants) {
  check(bytesToHex(RLP.decode(hexToBytes(raw))[0]) === hash, "a header does not follow the one before");
  hash = bytesToHex(keccak_256(hexToBytes(raw)));
}
const number = BigInt(bytesToHex(header[8])), time = Number(BigInt(bytesToHex(header[11])));
console.log(`in block ${block} (number ${number}, made ${new Date(time * 1000).toISOString()}) by contract ${bytesToHex(contract)}; last header ${hash}`);
