package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/transparency-dev/formats/proof"

	"vaultmesh.org/vaultmesh"
)

// BundleFormat names the only version of the bundle there is.
const BundleFormat = "vaultmesh-bundle/v1"

// Bounds of a bundle.
const (
	MaxBundle    = 64 << 20 // bytes
	MaxParts     = 100_000
	maxTimestamp = 16 << 10 // bytes of one RFC 3161 response
	maxStamps    = 8        // RFC 3161 responses for the checkpoint
)

// The types of parts. The comment gives the name of such a part and what its data is.
const (
	PartReceipt    = "receipt"    // receipts/0000000012.dsse.json: the exact envelope with log index 12
	PartInclusion  = "tlog-proof" // receipts/0000000012.tlog-proof: C2SP tlog-proof of it to the one checkpoint
	PartCheckpoint = "checkpoint" // checkpoint: the C2SP signed note, exactly once
	PartTimestamp  = "rfc3161"    // timestamps/0.tsr: response over SHA-256 of the checkpoint's bytes
	PartMessage    = "telemetry"  // telemetry/0000000011-3.json: MessageProof of message 3 of the batch at index 11
	PartChallenge  = "challenge"  // challenges/<digest in hexadecimal>.json: canonical text of a Challenge
	PartCapability = "capability" // capabilities/<digest in hexadecimal>.txt: a token that a proposal names by its last block
)

// manifestType separates the signature of a manifest from every other use of the receipt key.
const manifestType = "application/vnd.vaultmesh.bundle-manifest+json"

// Part is one file within a bundle.
type Part struct {
	Name string
	Type string
	Data []byte
}

// Bundle is everything an auditor needs beside the trust file. Its text form is RFC 8785 JSON:
//
//	{"domain":…,"format":"vaultmesh-bundle/v1","manifest":{"keyid":…,"sig":base64},
//	 "parts":[{"data":base64,"name":…,"sha256":hex,"type":…},…]}
//
// with the parts in ascending order of their names, each name once. The manifest is a receipt key's ed25519 signature over
// the DSSE pre-authentication encoding of the same document without manifest and data, so no part can be added, left
// out, changed or renamed.
type Bundle struct {
	Domain    vaultmesh.Domain
	KeyID     string
	Signature []byte
	Parts     []Part
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
	return Part{Name: fmt.Sprintf("receipts/%010d.tlog-proof", index), Type: PartInclusion, Data: p.Marshal()}
}

// CheckpointPart holds the signed note that every inclusion proof of the bundle leads to.
func CheckpointPart(note []byte) Part {
	return Part{Name: "checkpoint", Type: PartCheckpoint, Data: note}
}

// TimestampPart holds the n-th RFC 3161 response over the checkpoint, n from 0 to 7.
func TimestampPart(n int, response []byte) Part {
	return Part{Name: fmt.Sprintf("timestamps/%d.tsr", n), Type: PartTimestamp, Data: response}
}

// MessagePart holds one telemetry message with its proof.
func MessagePart(p MessageProof) Part {
	return Part{Name: fmt.Sprintf("telemetry/%010d-%d.json", p.Batch, p.Index), Type: PartMessage, Data: p.Encode()}
}

// ChallengePart holds what the approvers of a command signed.
func ChallengePart(c Challenge) Part {
	d := c.Digest()
	return Part{Name: "challenges/" + hex.EncodeToString(d[:]) + ".json", Type: PartChallenge, Data: c.Canonical()}
}

// CapabilityPart holds the text of a token whose last block has the digest. It is needed only for a proposal whose
// receipt names the token without holding it.
func CapabilityPart(block vaultmesh.Digest, token string) Part {
	return Part{Name: "capabilities/" + hex.EncodeToString(block[:]) + ".txt", Type: PartCapability, Data: []byte(token)}
}

// EncodeBundle sorts the parts by name, signs the manifest and returns the text form.
func EncodeBundle(domain vaultmesh.Domain, parts []Part, s Signer) ([]byte, error) {
	b := Bundle{Domain: domain, Parts: slices.Clone(parts)}
	slices.SortFunc(b.Parts, func(x, y Part) int { return strings.Compare(x.Name, y.Name) })
	var err error
	if b.Signature, err = s.Sign(b.signedManifest()); err != nil {
		return nil, vaultmesh.Wrap(err, "bundle.sign", string(domain))
	}
	b.KeyID = s.KeyID()
	if err := b.check(); err != nil {
		return nil, err
	}
	out := b.append(make([]byte, 0, b.sizeHint()))
	if len(out) > MaxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle.encode", string(domain), "%d bytes, the limit is %d", len(out), MaxBundle).
			WithFix("export fewer commands at a time")
	}
	return out, nil
}

// DecodeBundle reads a bundle and accepts nothing that [EncodeBundle] would have written otherwise. It verifies no
// signature. The parts' data are copies.
func DecodeBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "%d bytes, the limit is %d", len(data), MaxBundle)
	}
	var b Bundle
	r := reader{data: data}
	r.literal(`{"domain":`)
	b.Domain = vaultmesh.Domain(r.text())
	r.literal(`,"format":"` + BundleFormat + `","manifest":{"keyid":`)
	b.KeyID = r.text()
	r.literal(`,"sig":"`)
	b.Signature = r.base64(r.until('"'))
	r.literal(`},"parts":[`)
	for r.peek('{') {
		if len(b.Parts) == MaxParts {
			return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "more than %d parts", MaxParts)
		}
		r.literal(`{"data":"`)
		var p Part
		p.Data = r.base64(r.until('"'))
		r.literal(`,"name":`)
		p.Name = r.text()
		r.literal(`,"sha256":"`)
		r.until('"') // compared by writing the bundle again
		r.literal(`,"type":`)
		p.Type = r.text()
		r.literal(`}`)
		b.Parts = append(b.Parts, p)
		if !r.peek(',') {
			break
		}
		r.literal(`,`)
	}
	r.literal(`]}`)
	r.end()
	if r.err != nil && r.cut {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "", "the file ends in the middle, after %d bytes", len(data)).WithFix("fetch it again, and compare the sizes")
	}
	if r.err != nil {
		return nil, vaultmesh.Wrap(r.err, "bundle", "")
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(b.append(make([]byte, 0, len(data))), data) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", "", "it is not in the one form in which it may be written, or a part does not have the digest that stands beside it")
	}
	return &b, nil
}

// CheckSignature verifies the manifest with pub.
func (b *Bundle) CheckSignature(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, b.signedManifest(), b.Signature) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", "manifest", "the signature does not verify over the names and digests of the %d parts", len(b.Parts))
	}
	return nil
}

// check enforces everything about a bundle that does not need a key.
func (b *Bundle) check() error {
	if err := vaultmesh.CheckID("domain", string(b.Domain)); err != nil {
		return vaultmesh.Wrap(err, "bundle", "")
	}
	if !validKeyID(b.KeyID) || len(b.Signature) != ed25519.SignatureSize {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "manifest", "want an ed25519 signature and its key id")
	}
	if len(b.Parts) > MaxParts {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "%d parts, the limit is %d", len(b.Parts), MaxParts)
	}
	for i, p := range b.Parts {
		if i > 0 && b.Parts[i-1].Name >= p.Name {
			return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "", "the parts are not in ascending order of their names at %.80q", p.Name)
		}
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Part) check() error {
	shape, ok := partShapes[p.Type]
	if !ok {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "part", "unknown type %.64q", p.Type)
	}
	stem, ok := strings.CutPrefix(p.Name, shape.prefix)
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

// partShapes bounds the name and the data of each type; the stem consists of digits, a to f and hyphens.
var partShapes = map[string]struct {
	prefix, suffix string
	stem, bytes    int
}{
	PartReceipt:    {"receipts/", ".dsse.json", 20, MaxEntry},
	PartInclusion:  {"receipts/", ".tlog-proof", 20, 32 << 10},
	PartCheckpoint: {"checkpoint", "", 0, 16 << 10},
	PartTimestamp:  {"timestamps/", ".tsr", 1, maxTimestamp},
	PartMessage:    {"telemetry/", ".json", 41, 4 * MaxEntry},
	PartChallenge:  {"challenges/", ".json", 64, MaxEntry},
	PartCapability: {"capabilities/", ".txt", 64, 8 << 10},
}

func (b *Bundle) sizeHint() int {
	n := 512
	for _, p := range b.Parts {
		n += 256 + len(p.Name) + base64.StdEncoding.EncodedLen(len(p.Data))
	}
	return n
}

func (b *Bundle) append(out []byte) []byte {
	out = append(out, `{"domain":`...)
	out = appendString(out, string(b.Domain))
	out = append(out, `,"format":"`+BundleFormat+`","manifest":{"keyid":`...)
	out = appendString(out, b.KeyID)
	out = append(out, `,"sig":"`...)
	out = base64.StdEncoding.AppendEncode(out, b.Signature)
	out = append(out, `"},"parts":[`...)
	return append(b.appendParts(out, true), `]}`...)
}

// signedManifest returns the message that the manifest's signature is over.
func (b *Bundle) signedManifest() []byte {
	m := append([]byte(nil), `{"domain":`...)
	m = appendString(m, string(b.Domain))
	m = append(m, `,"format":"`+BundleFormat+`","parts":[`...)
	m = append(b.appendParts(m, false), `]}`...)
	return dsse.PAE(manifestType, m)
}

func (b *Bundle) appendParts(out []byte, data bool) []byte {
	for i, p := range b.Parts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		if data {
			out = append(out, `"data":"`...)
			out = base64.StdEncoding.AppendEncode(out, p.Data)
			out = append(out, `",`...)
		}
		out = append(out, `"name":`...)
		out = appendString(out, p.Name)
		out = append(out, `,"sha256":"`...)
		sum := vaultmesh.Sum(p.Data)
		out = hex.AppendEncode(out, sum[:])
		out = append(out, `","type":`...)
		out = appendString(out, p.Type)
		out = append(out, '}')
	}
	return out
}
