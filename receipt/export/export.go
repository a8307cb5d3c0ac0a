// Package export owns the forms in which evidence leaves for systems that do not know ours: COSE receipts (RFC 9942) of a
// receipt's place in the log, and the history of commands as a graph of W3C PROV in JSON-LD. It is on floor 1: pure
// functions, no I/O, no clock, no randomness.
//
// It exports only what [receipt.Verify] accepted, and adds no claim of its own. It must not know where a bundle came from
// nor where an export goes.
//
// Sources: RFC 9942 (COSE Receipts) sections 4 and 5, RFC 9052 (COSE), RFC 9162 section 2.1.3 (inclusion proofs), RFC 8392
// and RFC 9597 (CWT claims in COSE headers), RFC 8949 section 4.2 (deterministic CBOR); W3C PROV-O, PROV-DM, JSON-LD 1.1.
package export

import (
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/formats/proof"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// verified is a bundle that was accepted.
type verified struct {
	report   receipt.Report
	bundle   *receipt.Bundle
	receipts []entry // by log index
	note     []byte  // the main checkpoint
	origin   string  // of the log
}

// entry is one receipt of a verified bundle.
type entry struct {
	receipt.Receipt
	index    uint64
	envelope []byte
	path     []vaultmesh.Digest
}

// open verifies a bundle and takes it apart. A bundle that is refused is an error of kind Corrupt that names the first
// check that does not hold.
func open(data []byte, t *receipt.Trust) (*verified, error) {
	const op = "export"
	v := &verified{report: receipt.Verify(data, t)}
	if !v.report.OK {
		detail := "the bundle is refused"
		if failed := v.report.Failed(); len(failed) > 0 {
			detail += ": " + failed[0].Name + ": " + failed[0].Detail
		}
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "%s", detail).WithFix("only verified evidence is exported: see `vaultmesh verify`")
	}
	var err error
	if v.bundle, err = receipt.DecodeBundle(data); err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	main, ok := v.bundle.Find(receipt.PartCheckpoint)
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "a verified bundle without checkpoint")
	}
	v.note = main.Data
	body, err := receipt.CheckpointBody(v.note)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "checkpoint")
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal(body); err != nil || c.Size != v.report.LogSize || vaultmesh.Digest(c.Hash) != v.report.LogRoot {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "checkpoint", "it is not the one that was verified").Because(err)
	}
	v.origin = c.Origin
	return v, v.read()
}

// read opens the receipts in the order of the log: a bundle's parts are sorted by their names, which hold the index.
func (v *verified) read() error {
	for _, p := range v.bundle.Parts {
		if p.Type != receipt.PartReceipt {
			continue
		}
		e := entry{envelope: p.Data}
		var err error
		if e.Receipt, err = receipt.Open(p.Data); err != nil {
			return vaultmesh.Wrap(err, "export", p.Name)
		}
		inclusion, ok := v.bundle.Find(strings.TrimSuffix(p.Name, ".dsse.json") + ".tlog-proof")
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Internal, "export", p.Name, "a verified bundle without its inclusion proof")
		}
		var place proof.TLogProof
		if err := place.Unmarshal(inclusion.Data); err != nil {
			return vaultmesh.Errorf(vaultmesh.Internal, "export", inclusion.Name, "no inclusion proof").Because(err)
		}
		e.index = place.Index
		for _, h := range place.Hashes {
			e.path = append(e.path, vaultmesh.Digest(h))
		}
		v.receipts = append(v.receipts, e)
	}
	return nil
}
