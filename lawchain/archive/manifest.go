// Package archive owns the long keeping of the log: immutable segments of receipts with the checkpoints and proofs that
// go with them, in a bucket that nobody should be able to change, not even who runs the node. It is on floor 2.
//
// It must not know what a receipt says. An archive is read without the node: docs/evidence.md describes the format.
//
// A segment is complete when its manifest is there. All objects of a segment are named by their digest, so that an
// attempt that was cut short and the next one cannot disagree; the manifest is created, never replaced, so that two
// writers cannot both go on.
package archive

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// Fixed strings of the format.
const (
	Format       = "vaultmesh-archive/v1"
	ManifestType = "application/vnd.vaultmesh.archive-manifest+json"

	manifests = "manifests/" // manifests/<segment, 12 digits>.json
	segments  = "segments/"  // segments/<segment, 12 digits>/<sha256 of the object>
)

// Bounds.
const (
	// SegmentReceipts is the largest number of receipts of one segment.
	SegmentReceipts = 1 << 16
	MaxManifest     = 8 << 20 // bytes
	MaxProofs       = 20_000  // of one segment: what came in while the archive could not be reached for long
	maxObjects      = SegmentReceipts/tiles.Width + 1 + MaxProofs
	maxProof        = 1 << 20 // bytes of one anchor's proof
	maxSegments     = 1_000_000
)

// Manifest says what a segment is. Its file is a DSSE envelope (payload type [ManifestType]) signed by a receipt key.
type Manifest struct {
	Format  string           `json:"format"`
	Domain  vaultmesh.Domain `json:"domain"`
	Origin  string           `json:"origin"`
	Segment uint64           `json:"segment"`     // from 0, without gaps
	From    uint64           `json:"from,string"` // index of the first receipt
	To      uint64           `json:"to,string"`   // one more than the index of the last
	Root    vaultmesh.Digest `json:"root"`        // of the tree of the receipts below To
	// Previous is the SHA-256 of the file of the manifest before; zero in segment 0.
	Previous    vaultmesh.Digest `json:"previous"`
	Created     time.Time        `json:"created"`
	RetainUntil *time.Time       `json:"retain_until"` // null where the bucket has no object lock
	Lock        string           `json:"lock"`         // "compliance", "governance" or "none"
	Objects     []Object         `json:"objects"`
}

// Object is one file of a segment.
type Object struct {
	// Name is entries/<n, 6 digits>: the n-th 256 receipts of the segment as a tlog-tiles entry bundle; checkpoint: a
	// signed note of a tree of at least To receipts; or anchors/<anything>: a proof, or the checkpoint that it dates.
	Name   string           `json:"name"`
	Size   int64            `json:"size"`
	SHA256 vaultmesh.Digest `json:"sha256"`
}

// envelope is a DSSE envelope.
type envelope struct {
	Payload     string      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// Signed is a manifest with its signature, which is not verified until CheckSignature was asked.
type Signed struct {
	Manifest
	KeyID     string
	File      []byte
	payload   []byte
	signature []byte
}

// Digest is what the next manifest calls Previous.
func (s *Signed) Digest() vaultmesh.Digest { return vaultmesh.Sum(s.File) }

// CheckSignature verifies the manifest with pub.
func (s *Signed) CheckSignature(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, dsse.PAE(ManifestType, s.payload), s.signature) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "archive.manifest", strconv.FormatUint(s.Segment, 10), "the signature does not verify")
	}
	return nil
}

// sign encodes a manifest.
func sign(m Manifest, s receipt.Signer) (*Signed, error) {
	const op = "archive.manifest"
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot encode").Because(err)
	}
	sig, err := s.Sign(dsse.PAE(ManifestType, payload))
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	file, err := json.Marshal(envelope{base64.StdEncoding.EncodeToString(payload), ManifestType, []signature{{s.KeyID(), base64.StdEncoding.EncodeToString(sig)}}})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot encode").Because(err)
	}
	return Decode(file)
}

// strict decodes JSON that must be exactly what encoding v again gives.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err == nil && !bytes.Equal(again, data) {
		err = fmt.Errorf("it is not in the one form in which it may be written")
	}
	return err
}

// Decode reads a manifest's file. It accepts nothing that this package would not have written, so no byte of it can be
// changed without notice.
func Decode(file []byte) (*Signed, error) {
	const op = "archive.manifest"
	bad := func(format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", format, args...)
	}
	if len(file) > MaxManifest {
		return nil, bad("%d bytes, the limit is %d", len(file), MaxManifest)
	}
	var e envelope
	if err := strict(file, &e); err != nil {
		return nil, bad("not a signed manifest").Because(err)
	}
	if e.PayloadType != ManifestType || len(e.Signatures) != 1 {
		return nil, bad("it is signed as %.80q with %d signatures", e.PayloadType, len(e.Signatures))
	}
	s := &Signed{KeyID: e.Signatures[0].KeyID, File: file}
	var err, err2 error
	s.payload, err = base64.StdEncoding.Strict().DecodeString(e.Payload)
	s.signature, err2 = base64.StdEncoding.Strict().DecodeString(e.Signatures[0].Sig)
	// Base64 of other length or with line breaks is another file for the same manifest.
	if err != nil || err2 != nil || base64.StdEncoding.EncodeToString(s.payload) != e.Payload || base64.StdEncoding.EncodeToString(s.signature) != e.Signatures[0].Sig {
		return nil, bad("not base64")
	}
	if err := strict(s.payload, &s.Manifest); err != nil {
		return nil, bad("not a manifest").Because(err)
	}
	return s, s.check()
}

// check enforces what needs no key.
func (m *Manifest) check() error {
	bad := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "archive.manifest", strconv.FormatUint(m.Segment, 10), format, args...)
	}
	if m.Format != Format || m.Segment >= maxSegments || m.From >= m.To || m.To-m.From > SegmentReceipts || len(m.Objects) > maxObjects {
		return bad("a manifest of format %.40q with receipts %d to %d and %d objects", m.Format, m.From, m.To, len(m.Objects))
	}
	if (m.Segment == 0) != (m.From == 0) || (m.Segment == 0) != (m.Previous == vaultmesh.Digest{}) {
		return bad("only segment 0 begins at 0 and follows none")
	}
	if err := vaultmesh.CheckID("domain", string(m.Domain)); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, o := range m.Objects {
		limit := int64(maxProof)
		switch {
		case o.Name == tiles.Checkpoint:
			limit = tiles.MaxCheckpoint
		case strings.HasPrefix(o.Name, "entries/"):
			limit = tiles.MaxBundle
		case !strings.HasPrefix(o.Name, "anchors/"):
			return bad("%.80q is not the name of a part", o.Name)
		}
		if seen[o.Name] || o.Size < 0 || o.Size > limit || len(o.Name) > 200 {
			return bad("%.80q is there twice, or has %d bytes", o.Name, o.Size)
		}
		seen[o.Name] = true
	}
	for i := range m.Bundles() {
		if !seen[bundleName(i)] {
			return bad("it lacks %s", bundleName(i))
		}
		delete(seen, bundleName(i))
	}
	for name := range seen {
		if strings.HasPrefix(name, "entries/") {
			return bad("%.80q holds no receipt of it", name)
		}
	}
	if !seen[tiles.Checkpoint] {
		return bad("it lacks the checkpoint")
	}
	return nil
}

func bundleName(i uint64) string { return fmt.Sprintf("entries/%06d", i) }

// Bundles is the number of entry bundles of the segment.
func (m *Manifest) Bundles() uint64 { return (m.To - m.From + tiles.Width - 1) / tiles.Width }

// Bundle returns the i-th entry bundle and the number of receipts in it.
func (m *Manifest) Bundle(i uint64) (o Object, width uint64) {
	return m.Object(bundleName(i)), min(tiles.Width, m.To-m.From-i*tiles.Width)
}

// Object returns the object of that name; the zero one where there is none.
func (m *Manifest) Object(name string) Object {
	if i := slices.IndexFunc(m.Objects, func(o Object) bool { return o.Name == name }); i >= 0 {
		return m.Objects[i]
	}
	return Object{}
}

// Path is where an object of the segment is in the bucket.
func (m *Manifest) Path(o Object) string {
	return fmt.Sprintf("%s%012d/%s", segments, m.Segment, hex.EncodeToString(o.SHA256[:]))
}

// ManifestPath is where the manifest of a segment is in the bucket.
func ManifestPath(segment uint64) string { return fmt.Sprintf("%s%012d.json", manifests, segment) }

// List returns the number of segments in the bucket. Manifests that are missing in between, or objects that are none, are
// an error of kind Corrupt.
func List(ctx context.Context, b bucket.Bucket) (uint64, error) {
	seen := map[uint64]bool{}
	err := b.List(ctx, manifests, func(o bucket.Object) (bool, error) {
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(o.Name, manifests), ".json"), 10, 40)
		if err != nil || ManifestPath(n) != o.Name || n >= maxSegments {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "archive.list", o.Name, "it is not a manifest")
		}
		seen[n] = true
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	for n := range uint64(len(seen)) {
		if !seen[n] {
			return n, vaultmesh.Errorf(vaultmesh.Corrupt, "archive.list", ManifestPath(n), "it is missing, and later ones are there")
		}
	}
	return uint64(len(seen)), nil
}

// Read reads the manifest of a segment. Where it was deleted or overwritten in a bucket that keeps versions, the oldest
// version that is a manifest of the segment is read, and shadowed is true.
func Read(ctx context.Context, b bucket.Bucket, segment uint64) (s *Signed, shadowed bool, err error) {
	file, err := b.Get(ctx, ManifestPath(segment), MaxManifest)
	if err == nil {
		s, err = decodeAs(file, segment)
	}
	v, ok := b.(bucket.Versioned)
	if kind := vaultmesh.KindOf(err); err == nil || !ok || kind != vaultmesh.NotFound && kind != vaultmesh.Corrupt && kind != vaultmesh.TooLarge {
		return s, false, err
	}
	verr := v.Versions(ctx, ManifestPath(segment), MaxManifest, func(old []byte) (bool, error) {
		found, derr := decodeAs(old, segment)
		if derr == nil {
			s, shadowed = found, true
		}
		return derr != nil, nil
	})
	switch {
	case shadowed:
		return s, true, nil
	case verr != nil && vaultmesh.KindOf(verr).Retryable():
		return nil, false, verr
	}
	return nil, false, err
}

func decodeAs(file []byte, segment uint64) (*Signed, error) {
	s, err := Decode(file)
	if err == nil && s.Segment != segment {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "archive.manifest", ManifestPath(segment), "it is that of segment %d", s.Segment)
	}
	return s, err
}

// Hidden returns how many segments from n on the bucket has although its listing does not show them: somebody deleted
// their manifests, and the store kept them.
func Hidden(ctx context.Context, b bucket.Bucket, n uint64) (uint64, error) {
	for end := n; ; end++ {
		_, _, err := Read(ctx, b, end)
		if vaultmesh.KindOf(err) == vaultmesh.NotFound && err != nil {
			return end - n, nil
		}
		if err != nil {
			return end - n, err
		}
	}
}

// ReadObject reads an object of a segment and compares it with its digest. Where the newest version was put over it in a
// bucket that keeps versions, the right one is found among the older, and shadowed is true.
func ReadObject(ctx context.Context, b bucket.Bucket, m *Manifest, o Object) (data []byte, shadowed bool, err error) {
	const op = "archive.read"
	name := m.Path(o)
	data, err = b.Get(ctx, name, o.Size)
	if err == nil && vaultmesh.Sum(data) == o.SHA256 {
		return data, false, nil
	}
	kind := vaultmesh.KindOf(err)
	if err != nil && kind != vaultmesh.NotFound && kind != vaultmesh.TooLarge {
		return nil, false, err
	}
	if v, ok := b.(bucket.Versioned); ok {
		verr := v.Versions(ctx, name, o.Size, func(old []byte) (bool, error) {
			if vaultmesh.Sum(old) == o.SHA256 {
				data, shadowed = old, true
			}
			return !shadowed, nil
		})
		if shadowed {
			return data, true, nil
		}
		if verr != nil && vaultmesh.KindOf(verr).Retryable() {
			return nil, false, verr
		}
	}
	if err == nil {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, op, name, "%s of segment %d does not have the digest that the manifest says", o.Name, m.Segment)
	}
	return nil, false, vaultmesh.Errorf(vaultmesh.Corrupt, op, name, "%s of segment %d is missing or was changed", o.Name, m.Segment).Because(err)
}
