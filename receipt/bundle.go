package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// BundleFormat names the only version of the bundle that is read. Version 1 was never released.
const BundleFormat = "vaultmesh-bundle/v2"

// Bounds of a bundle.
const (
	MaxBundle = 256 << 20 // bytes
	MaxParts  = 100_000
)

// manifestType separates the signature of a manifest from every other use of the receipt key.
const manifestType = "application/vnd.vaultmesh.bundle-manifest+json"

// Bundle is everything an auditor needs beside the trust file, for one receipt, a command, a subject's whole history or a
// range of the log: what it is about is in its [Scope]. Its text form is RFC 8785 JSON:
//
//	{"domain":…,"format":"vaultmesh-bundle/v2","manifest":{"keyid":…,"sig":base64},
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

// EncodeBundle sorts the parts by name, signs the manifest and returns the text form.
func EncodeBundle(domain vaultmesh.Domain, parts []Part, s Signer) ([]byte, error) {
	b := Bundle{Domain: domain, Parts: slices.Clone(parts)}
	slices.SortFunc(b.Parts, func(x, y Part) int { return strings.Compare(x.Name, y.Name) })
	for i := range b.Parts {
		b.Parts[i].sum = vaultmesh.Sum(b.Parts[i].Data)
	}
	var err error
	if b.Signature, err = s.Sign(b.SignedManifest()); err != nil {
		return nil, vaultmesh.Wrap(err, "bundle.sign", string(domain))
	}
	b.KeyID = s.KeyID()
	if err := b.check(); err != nil {
		return nil, err
	}
	out := b.append(make([]byte, 0, b.sizeHint()))
	if len(out) > MaxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle.encode", string(domain), "%d bytes, the limit is %d", len(out), MaxBundle).
			WithFix("export fewer commands, or a shorter range, at a time")
	}
	return out, nil
}

// DecodeBundle reads a bundle and accepts nothing that [EncodeBundle] would have written otherwise; the digest beside
// each part is compared with its data. It verifies no signature. The parts' data are copies. It needs memory of about
// the file's size beside the file.
func DecodeBundle(data []byte) (*Bundle, error) {
	if len(data) > MaxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "%d bytes, the limit is %d", len(data), MaxBundle)
	}
	var b Bundle
	r := reader{data: data}
	r.literal(`{"domain":`)
	b.Domain = vaultmesh.Domain(r.text())
	r.literal(`,"format":"`)
	if r.err == nil && bytes.HasPrefix(data[r.pos:], []byte(`vaultmesh-bundle/v1"`)) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "format", "this is a bundle of version 1, which was never released").
			WithFix("fetch the bundle again from a node of this version")
	}
	r.literal(BundleFormat + `","manifest":{"keyid":`)
	b.KeyID = r.text()
	r.literal(`,"sig":"`)
	b.Signature = r.canonicalBase64(r.until('"'))
	r.literal(`},"parts":[`)
	for r.peek('{') {
		if len(b.Parts) == MaxParts {
			return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "more than %d parts", MaxParts)
		}
		b.Parts = append(b.Parts, r.part())
		if !r.peek(',') {
			break
		}
		r.literal(`,`)
		if r.err == nil && !r.peek('{') {
			r.cut = r.pos == len(data)
			r.fail("want a part after the comma")
		}
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
	return &b, nil
}

// part reads one part. Every spelling but the one that append writes is refused: names and types are compared with
// their shapes, which need no escapes, base64 with its length.
func (r *reader) part() (p Part) {
	r.literal(`{"data":"`)
	p.Data = r.canonicalBase64(r.until('"'))
	r.literal(`,"name":"`)
	p.Name = string(r.until('"'))
	r.literal(`,"sha256":"`)
	sum := r.until('"')
	r.literal(`,"type":"`)
	p.Type = string(r.until('"'))
	r.literal(`}`)
	if r.err != nil {
		return p
	}
	if r.err = p.check(); r.err != nil {
		return p
	}
	p.sum = vaultmesh.Sum(p.Data)
	if string(sum) != hex.EncodeToString(p.sum[:]) {
		r.err = vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", p.Name, "the part does not have the digest that stands beside it")
	}
	return p
}

// canonicalBase64 accepts one spelling only: the decoder of the standard library skips line ends.
func (r *reader) canonicalBase64(b []byte) []byte {
	out := r.base64(b)
	if r.err == nil && base64.StdEncoding.EncodedLen(len(out)) != len(b) {
		r.fail("base64 with line ends")
	}
	return out
}

// CheckSignature verifies the manifest with pub.
func (b *Bundle) CheckSignature(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, b.SignedManifest(), b.Signature) {
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
	for i := range b.Parts {
		if i > 0 && b.Parts[i-1].Name >= b.Parts[i].Name {
			return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "", "the parts are not in ascending order of their names at %.80q", b.Parts[i].Name)
		}
		if err := b.Parts[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the part with the name.
func (b *Bundle) Find(name string) (Part, bool) {
	i, ok := slices.BinarySearchFunc(b.Parts, name, func(p Part, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return Part{}, false
	}
	return b.Parts[i], true
}

func (b *Bundle) sizeHint() int {
	n := 512
	for _, p := range b.Parts {
		n += 160 + len(p.Name) + base64.StdEncoding.EncodedLen(len(p.Data))
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

// SignedManifest returns the message that the manifest's signature is over, for tools that know ed25519 and no bundle.
func (b *Bundle) SignedManifest() []byte {
	m := make([]byte, 0, 256+200*len(b.Parts))
	m = append(m, `{"domain":`...)
	m = appendString(m, string(b.Domain))
	m = append(m, `,"format":"`+BundleFormat+`","parts":[`...)
	m = append(b.appendParts(m, false), `]}`...)
	return pae(manifestType, m)
}

func (b *Bundle) appendParts(out []byte, data bool) []byte {
	for i := range b.Parts {
		p := &b.Parts[i]
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
		sum := p.Sum()
		out = hex.AppendEncode(out, sum[:])
		out = append(out, `","type":`...)
		out = appendString(out, p.Type)
		out = append(out, '}')
	}
	return out
}
