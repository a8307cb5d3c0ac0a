package receipt

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/formats/proof"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/state"
)

// The types of parts. The comment gives the name of such a part and what its data is. A size is that of a tree, in ten
// digits or more.
const (
	PartScope       = "scope"             // scope: what the bundle is about, see Scope; at most once
	PartReceipt     = "receipt"           // receipts/0000000012.dsse.json: the exact envelope with log index 12
	PartInclusion   = "tlog-proof"        // receipts/0000000012.tlog-proof: C2SP tlog-proof of it to the main checkpoint
	PartCheckpoint  = "checkpoint"        // checkpoint: the main checkpoint, a C2SP signed note with cosignatures, exactly once
	PartAnchored    = "anchored"          // anchors/0000000040/checkpoint: the note of another size, which was anchored or witnessed
	PartConsistency = "consistency"       // anchors/0000000040/consistency: between it and the main one, see ConsistencyPart
	PartTimestamp   = "rfc3161"           // anchors/0000000040/rfc3161-0.tsr: response over SHA-256 of that note's body
	PartBitcoin     = "bitcoin"           // anchors/0000000040/bitcoin.json: proof of package proof/bitcoin over the same digest
	PartEthereum    = "ethereum"          // anchors/0000000040/ethereum.json: proof of package proof/ethereum over the same digest
	PartState       = "state"             // state/0.json: proof of package proof/state, under the root of a state.root receipt
	PartInput       = "input"             // inputs/<digest>.json: what a decision saw, whose digest is in its receipt
	PartPrivate     = "private"           // private/<digest>.json: what a receipt commits to and does not show
	PartMessage     = "telemetry"         // telemetry/0000000011-3.json: MessageProof of message 3 of the batch at index 11
	PartChallenge   = "challenge"         // challenges/<digest in hexadecimal>.json: canonical text of a Challenge
	PartCapability  = "capability"        // capabilities/<digest in hexadecimal>.txt: a token that a proposal names by its last block
	maxTimestamp    = 16 << 10            // bytes of one RFC 3161 response
	MaxStamps       = 8                   // RFC 3161 responses for one checkpoint
	maxHeads        = 256                 // checkpoints beside the main one
	maxTlogProof    = maxNote + (8 << 10) // bytes of one tlog-proof, which repeats the checkpoint
)

// Part is one file within a bundle.
type Part struct {
	Name string
	Type string
	Data []byte
	sum  vaultmesh.Digest // of Data, where it was computed
}

// Sum returns the SHA-256 of the data.
func (p *Part) Sum() vaultmesh.Digest {
	if p.sum.IsZero() {
		return vaultmesh.Sum(p.Data)
	}
	return p.sum
}

// ReceiptPart holds an envelope at its log index.
func ReceiptPart(index vaultmesh.LogIndex, envelope []byte) Part {
	return Part{Name: fmt.Sprintf("receipts/%010d.dsse.json", index), Type: PartReceipt, Data: envelope}
}

// InclusionPart holds the audit path of the envelope at index to the checkpoint, as a C2SP tlog-proof.
func InclusionPart(index vaultmesh.LogIndex, path []vaultmesh.Digest, checkpoint []byte) Part {
	p := proof.TLogProof{Index: uint64(index), Checkpoint: checkpoint}
	for _, d := range path {
		p.Hashes = append(p.Hashes, d)
	}
	return Part{Name: inclusionName(index), Type: PartInclusion, Data: p.Marshal()}
}

func inclusionName(index vaultmesh.LogIndex) string {
	return fmt.Sprintf("receipts/%010d.tlog-proof", index)
}

// CheckpointPart holds the signed note that every inclusion proof of the bundle leads to.
func CheckpointPart(note []byte) Part {
	return Part{Name: "checkpoint", Type: PartCheckpoint, Data: note}
}

// AnchoredPart holds the signed note of another size than the main checkpoint's. A ConsistencyPart of the same size
// goes with it.
func AnchoredPart(size uint64, note []byte) Part {
	return Part{Name: anchorName(size, "checkpoint"), Type: PartAnchored, Data: note}
}

// ConsistencyPart holds the RFC 6962 proof that the smaller of the tree of that size and the main checkpoint's is a prefix
// of the larger. Its text is that of a C2SP tlog-witness request without the checkpoint: "old " and the smaller size in
// decimal, then each hash in base64, every line ended by a newline.
func ConsistencyPart(size, main uint64, path []vaultmesh.Digest) Part {
	return Part{Name: anchorName(size, "consistency"), Type: PartConsistency, Data: encodeConsistency(min(size, main), path)}
}

// TimestampPart holds the n-th RFC 3161 response over the body of the checkpoint of that size, n from 0 to 7.
func TimestampPart(size uint64, n int, response []byte) Part {
	return Part{Name: anchorName(size, "rfc3161-"+strconv.Itoa(n)+".tsr"), Type: PartTimestamp, Data: response}
}

// BitcoinPart holds a proof of package proof/bitcoin over the digest of the body of the checkpoint of that size.
func BitcoinPart(size uint64, proof []byte) Part {
	return Part{Name: anchorName(size, "bitcoin.json"), Type: PartBitcoin, Data: proof}
}

// EthereumPart holds a proof of package proof/ethereum over the digest of the body of the checkpoint of that size.
func EthereumPart(size uint64, proof []byte) Part {
	return Part{Name: anchorName(size, "ethereum.json"), Type: PartEthereum, Data: proof}
}

// StatePart holds the n-th state proof of the bundle, see package proof/state.
func StatePart(n int, proof []byte) Part {
	return Part{Name: fmt.Sprintf("state/%d.json", n), Type: PartState, Data: proof}
}

// InputPart holds what a decision saw: a canonical JSON document that a receipt names by its digest.
func InputPart(doc []byte) Part {
	d := vaultmesh.Sum(doc)
	return Part{Name: "inputs/" + hex.EncodeToString(d[:]) + ".json", Type: PartInput, Data: doc}
}

// PrivatePart holds the opening of a commitment, named by the commitment that the receipt holds.
func PrivatePart(commitment vaultmesh.Digest, opening []byte) Part {
	return Part{Name: "private/" + hex.EncodeToString(commitment[:]) + ".json", Type: PartPrivate, Data: opening}
}

// MessagePart holds one telemetry message with its proof.
func MessagePart(p MessageProof) Part {
	return Part{Name: messageName(p.Batch, p.Index), Type: PartMessage, Data: p.Encode()}
}

func messageName(batch vaultmesh.LogIndex, index uint64) string {
	return fmt.Sprintf("telemetry/%010d-%d.json", batch, index)
}

// ChallengePart holds what the approvers of a command signed.
func ChallengePart(c Challenge) Part {
	d := c.Digest()
	return Part{Name: "challenges/" + hex.EncodeToString(d[:]) + ".json", Type: PartChallenge, Data: c.Canonical()}
}

// CapabilityPart holds the text of a token whose last block has the digest. It is needed only for a proposal whose
// receipt names the token without holding it.
func CapabilityPart(block vaultmesh.Digest, token string) Part {
	return Part{Name: capabilityName(block), Type: PartCapability, Data: []byte(token)}
}

func capabilityName(block vaultmesh.Digest) string {
	return "capabilities/" + hex.EncodeToString(block[:]) + ".txt"
}

func anchorName(size uint64, file string) string { return fmt.Sprintf("anchors/%010d/%s", size, file) }

// anchorSize returns the size in the name of a part of an anchor, which must be the one spelling of it.
func anchorSize(name string) (size uint64, file string, ok bool) {
	rest, ok := strings.CutPrefix(name, "anchors/")
	if !ok {
		return 0, "", false
	}
	digits, file, ok := strings.Cut(rest, "/")
	size, err := strconv.ParseUint(digits, 10, 64)
	return size, file, ok && err == nil && anchorName(size, file) == name
}

// Stamp is an RFC 3161 response of a bundle with the checkpoint that it is about; neither is verified.
type Stamp struct {
	Size     uint64
	Body     []byte // of the checkpoint: what is stamped is its SHA-256
	Response []byte
}

// Stamps returns the RFC 3161 responses of which the bundle holds the checkpoint.
func (b *Bundle) Stamps() []Stamp {
	var list []Stamp
	main, _ := b.Find("checkpoint")
	mainSize, _ := claimedSize(main.Data)
	for _, p := range b.Parts {
		if p.Type != PartTimestamp {
			continue
		}
		size, _, _ := anchorSize(p.Name)
		of := main
		if size != mainSize {
			of, _ = b.Find(anchorName(size, "checkpoint"))
		}
		if body, err := CheckpointBody(of.Data); err == nil {
			list = append(list, Stamp{Size: size, Body: body, Response: p.Data})
		}
	}
	return list
}

// partShapes bounds the name and the data of each type. Where files is set, the name is that of a file of an anchor;
// else the stem between prefix and suffix consists of digits, a to f and hyphens.
var partShapes = map[string]struct {
	prefix, suffix string
	stem, bytes    int
	anchor         bool
}{
	PartScope:       {"scope", "", 0, maxScope, false},
	PartReceipt:     {"receipts/", ".dsse.json", 20, MaxEntry, false},
	PartInclusion:   {"receipts/", ".tlog-proof", 20, maxTlogProof, false},
	PartCheckpoint:  {"checkpoint", "", 0, maxNote, false},
	PartAnchored:    {"checkpoint", "", 0, maxNote, true},
	PartConsistency: {"consistency", "", 0, 8 << 10, true},
	PartTimestamp:   {"rfc3161-", ".tsr", 1, maxTimestamp, true},
	PartBitcoin:     {"bitcoin.json", "", 0, bitcoin.MaxProof, true},
	PartEthereum:    {"ethereum.json", "", 0, ethereum.MaxProof, true},
	PartState:       {"state/", ".json", 6, state.MaxProof, false},
	PartInput:       {"inputs/", ".json", 64, 1 << 20, false},
	PartPrivate:     {"private/", ".json", 64, 1 << 20, false},
	PartMessage:     {"telemetry/", ".json", 41, 4 * MaxEntry, false},
	PartChallenge:   {"challenges/", ".json", 64, MaxEntry, false},
	PartCapability:  {"capabilities/", ".txt", 64, 8 << 10, false},
}

func (p *Part) check() error {
	shape, ok := partShapes[p.Type]
	if !ok {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "part", "unknown type %.64q", p.Type)
	}
	name := p.Name
	if shape.anchor {
		_, name, ok = anchorSize(p.Name)
	}
	stem := ""
	if ok {
		stem, ok = strings.CutPrefix(name, shape.prefix)
	}
	if ok {
		stem, ok = strings.CutSuffix(stem, shape.suffix)
	}
	for i := 0; ok && i < len(stem); i++ {
		c := stem[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-'
	}
	if !ok || len(stem) > shape.stem || (stem == "") != (shape.stem == 0) {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "part", "%.80q is not the name of a part of type %s", p.Name, p.Type)
	}
	if len(p.Data) == 0 || len(p.Data) > shape.bytes {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", p.Name, "%d bytes, a part of type %s has 1 to %d", len(p.Data), p.Type, shape.bytes)
	}
	return nil
}

func encodeConsistency(old uint64, path []vaultmesh.Digest) []byte {
	b := append(strconv.AppendUint([]byte("old "), old, 10), '\n')
	for _, d := range path {
		b = append(base64.StdEncoding.AppendEncode(b, d[:]), '\n')
	}
	return b
}

// decodeConsistency reads the text of a ConsistencyPart and accepts no other spelling of it.
func decodeConsistency(data []byte) (old uint64, path [][]byte, err error) {
	r := reader{data: data}
	r.literal("old ")
	old = r.uint(r.until('\n'))
	var hashes []vaultmesh.Digest
	for r.err == nil && r.pos < len(data) {
		h := r.base64(r.until('\n'))
		if r.err == nil && len(h) != len(vaultmesh.Digest{}) || len(hashes) == 2*maxPath {
			r.fail("want at most %d hashes of 32 bytes", 2*maxPath)
			break
		}
		if r.err == nil {
			hashes, path = append(hashes, vaultmesh.Digest(h)), append(path, h)
		}
	}
	if r.err == nil && !bytes.Equal(encodeConsistency(old, hashes), data) {
		r.fail("not in the one form in which it may be written")
	}
	return old, path, vaultmesh.Wrap(r.err, "consistency", "")
}
