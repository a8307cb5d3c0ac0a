package ethereum

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/test/peers"
)

// script verifies a proof with the libraries of EthereumJS alone: it hashes the header, reads the receipts root out of it,
// walks the trie, and looks for the event.
const script = `
import { readFileSync } from 'node:fs';
import { verifyMerkleProof } from '@ethereumjs/mpt';
import { RLP } from '@ethereumjs/rlp';
import { bytesToHex, hexToBytes } from '@ethereumjs/util';
import { keccak_256 } from '@noble/hashes/sha3.js';
async function check({ proof: p, block, digest, contract }) {
  const header = hexToBytes(p.header);
  if (bytesToHex(keccak_256(header)) !== block) throw new Error('header does not hash to the block');
  const nodes = p.nodes.map(hexToBytes);
  if (bytesToHex(keccak_256(nodes[0])) !== bytesToHex(RLP.decode(header)[5])) throw new Error('first node is not the root');
  const value = await verifyMerkleProof(RLP.encode(p.transaction), nodes);
  if (!value) throw new Error('no value');
  const receipt = RLP.decode(value[0] < 0xc0 ? value.slice(1) : value);
  if (bytesToHex(receipt[0]) !== '0x01') throw new Error('reverted');
  const log = receipt[3][p.log];
  if (bytesToHex(log[0]) !== contract) throw new Error('another contract');
  if (bytesToHex(log[1][0]) !== digest) throw new Error('another digest');
}
for (const c of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  try { await check(c); console.log('verified'); } catch (e) { console.log('refused: ' + e.message); }
}
`

// claim is one proof and what it is said to prove, for the script.
type claim struct {
	name     string
	Proof    eth.Proof   `json:"proof"`
	Block    eth.Hash    `json:"block"`
	Digest   eth.Hash    `json:"digest"`
	Contract eth.Address `json:"contract"`
}

// independent has EthereumJS verify a proof, and refuse it with each part tampered with; so do we.
func independent(t *testing.T, proof []byte, digest vaultmesh.Digest, contract eth.Address) {
	t.Helper()
	p, err := eth.Decode(proof)
	if err != nil {
		t.Fatal(err)
	}
	good := claim{Proof: *p, Block: eth.Keccak(p.Header), Digest: eth.Hash(digest), Contract: contract}
	claims := []claim{good}
	tamper := func(name string, change func(*claim)) {
		bad := good
		bad.name = name
		bad.Proof.Nodes = append([]eth.Bytes(nil), p.Nodes...)
		change(&bad)
		claims = append(claims, bad)
	}
	flip := func(b eth.Bytes, i int) eth.Bytes {
		c := append(eth.Bytes(nil), b...)
		c[i] ^= 1
		return c
	}
	last := len(p.Nodes) - 1
	tamper("header", func(c *claim) { c.Proof.Header = flip(p.Header, len(p.Header)/2) })
	tamper("transaction", func(c *claim) { c.Proof.Transaction++ })
	tamper("root node", func(c *claim) { c.Proof.Nodes[0] = flip(p.Nodes[0], len(p.Nodes[0])/2) })
	tamper("last node", func(c *claim) { c.Proof.Nodes[last] = flip(p.Nodes[last], len(p.Nodes[last])-40) })
	tamper("log", func(c *claim) { c.Proof.Log = 1 })
	tamper("digest", func(c *claim) { c.Digest[0] ^= 1 })
	tamper("contract", func(c *claim) { c.Contract[0] ^= 1 })
	tamper("block", func(c *claim) { c.Block[0] ^= 1 })
	for i, verdict := range ethereumJS(t, claims) {
		c := claims[i]
		if (verdict == "verified") != (i == 0) {
			t.Errorf("EthereumJS on another %q: %s", c.name, verdict)
		}
		text, err := c.Proof.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = eth.Verify(text, vaultmesh.Digest(c.Digest), eth.Params{ChainID: p.ChainID, Contracts: []eth.Address{c.Contract}, Blocks: []eth.Hash{c.Block}})
		if (err == nil) != (i == 0) {
			t.Errorf("another %q: %v", c.name, err)
		}
	}
}

// ethereumJS runs the script over claims.
func ethereumJS(t *testing.T, claims []claim) []string {
	t.Helper()
	modules := filepath.Join(peers.EthereumMPT(t), "node_modules")
	dir := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"verify.mjs": []byte(script), "claims.json": text} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs", "claims.json")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	verdicts := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(verdicts) != len(claims) {
		t.Fatalf("%v: %s", err, out)
	}
	return verdicts
}
