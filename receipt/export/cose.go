package export

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/veraison/go-cose"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Labels and values of RFC 9942 (sections 2, 4.1, 4.2) and of CWT claims (RFC 8392 section 4).
const (
	labelVDS        = int64(395) // verifiable data structure, protected
	labelVDP        = int64(396) // its proofs, unprotected
	rfc9162SHA256   = int64(1)   // the tree of RFC 9162 with SHA-256, which is that of RFC 6962
	proofsInclusion = int64(-1)
	claimIssuer     = int64(1)
	claimSubject    = int64(2)
)

// Bounds of a COSE receipt.
const (
	MaxCOSE = 8 << 10 // bytes
	maxPath = 64
)

// subjectPrefix begins the claim that binds the size of the tree: RFC 9942 leaves it in the unprotected header, where
// trees of several sizes can lead to the same root by the same path.
const subjectPrefix = "checkpoint/"

// Inclusion is what a COSE receipt says: the entry is number Index of the first Size of the log Origin.
type Inclusion struct {
	Origin string
	Size   uint64
	Index  uint64
	Path   []vaultmesh.Digest // from the leaf upward; never empty
	Root   vaultmesh.Digest   // computed from entry and path, and signed
}

// Receipt is one exported COSE receipt.
type Receipt struct {
	Index    vaultmesh.LogIndex
	Kind     string
	Envelope []byte // the entry of the log that it is about, byte for byte
	COSE     []byte
}

// COSE verifies a bundle and makes a receipt of inclusion (RFC 9942 section 5.2.1) for each receipt in it: a tagged
// COSE_Sign1 by the log's key over the root of the bundle's checkpoint as detached payload. The key must be the one that
// signed that checkpoint, so that nothing is signed here that the log has not signed already in its own form. The two
// forms cannot be taken for one another: this one signs CBOR that begins with the bytes 84 6a, the other text.
//
// The protected header holds alg -8 (EdDSA), kid (the text of [receipt.KeyID]), vds 1, and the CWT claims iss, the log's
// origin, and sub, "checkpoint/" with the tree's size in decimal. A log of one entry has no such receipt, since the RFC
// wants a path that is not empty.
func COSE(bundle []byte, t *receipt.Trust, key ed25519.PrivateKey) ([]Receipt, error) {
	const op = "export.cose"
	if len(key) != ed25519.PrivateKeySize {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not an ed25519 key")
	}
	v, err := open(bundle, t)
	if err != nil {
		return nil, err
	}
	public := key.Public().(ed25519.PublicKey)
	verifierKey, err := note.NewEd25519VerifierKey(v.origin, public)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, v.origin, "no name of a log").Because(err)
	}
	verifier, err := note.NewVerifier(verifierKey)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, v.origin, "no name of a log").Because(err)
	}
	if _, err := note.Open(v.note, note.VerifierList(verifier)); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, v.origin, "the key has not signed the bundle's checkpoint").
			WithFix("use the log's own key, the one that was in use when the bundle was made")
	}
	var out []Receipt
	for i := range v.receipts {
		e := &v.receipts[i]
		place := Inclusion{Origin: v.origin, Size: v.report.LogSize, Index: e.index, Path: e.path, Root: v.report.LogRoot}
		signed, err := SignInclusion(key, e.envelope, place)
		if err != nil {
			return nil, err
		}
		out = append(out, Receipt{Index: vaultmesh.LogIndex(e.index), Kind: e.Kind, Envelope: e.envelope, COSE: signed})
	}
	return out, nil
}

// SignInclusion makes one receipt of inclusion for an entry of a log. It computes the root from entry and path and refuses
// to sign another. The same input gives the same bytes.
func SignInclusion(key ed25519.PrivateKey, entry []byte, in Inclusion) ([]byte, error) {
	const op = "cose.sign"
	root, err := in.root(entry)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	if root != in.Root {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "entry and path lead to the root %s, not to %s", root, in.Root)
	}
	m, err := in.message(key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not an ed25519 key").Because(err)
	}
	m.Payload = root[:]
	if err := m.Sign(nil, nil, signer); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot sign").Because(err)
	}
	m.Payload = nil // detached: a verifier has to compute it
	out, err := m.MarshalCBOR()
	if err != nil || len(out) > MaxCOSE {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "the receipt cannot be encoded (%d bytes)", len(out)).Because(err)
	}
	return out, nil
}

// message is the receipt without payload and signature.
func (in *Inclusion) message(key ed25519.PublicKey) (*cose.Sign1Message, error) {
	path := make([][]byte, len(in.Path))
	for i := range in.Path {
		path[i] = in.Path[i][:]
	}
	inclusion, err := encoder.Marshal([]any{in.Size, in.Index, path})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "cose.encode", "", "the proof cannot be encoded").Because(err)
	}
	m := cose.NewSign1Message()
	m.Headers.Protected = cose.ProtectedHeader{
		cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA,
		cose.HeaderLabelKeyID:     []byte(receipt.KeyID(key)),
		cose.HeaderLabelCWTClaims: map[any]any{claimIssuer: in.Origin, claimSubject: subjectPrefix + strconv.FormatUint(in.Size, 10)},
		labelVDS:                  rfc9162SHA256,
	}
	m.Headers.Unprotected = cose.UnprotectedHeader{labelVDP: map[any]any{proofsInclusion: []any{inclusion}}}
	return m, nil
}

// root is what entry and path lead to.
func (in *Inclusion) root(entry []byte) (vaultmesh.Digest, error) {
	if in.Origin == "" || in.Index >= in.Size || len(in.Path) == 0 || len(in.Path) > maxPath {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Invalid, "cose.inclusion", in.Origin, "entry %d of %d by %d hashes", in.Index, in.Size, len(in.Path)).
			WithFix("RFC 9942 has no receipt for a log of a single entry; take a later checkpoint")
	}
	path := make([][]byte, len(in.Path))
	for i := range in.Path {
		path[i] = in.Path[i][:]
	}
	leaf := receipt.LeafHash(entry)
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, in.Index, in.Size, leaf[:], path)
	if err != nil {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Corrupt, "cose.inclusion", in.Origin, "no path of entry %d of %d", in.Index, in.Size).Because(err)
	}
	return vaultmesh.Digest(root), nil
}

// encoder writes deterministic CBOR; decoder refuses repeated map keys, indefinite lengths and tags, and is bounded.
var (
	encoder = func() cbor.EncMode { m, err := cbor.CoreDetEncOptions().EncMode(); must(err); return m }()
	decoder = func() cbor.DecMode {
		m, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, MaxNestedLevels: 4, MaxArrayElements: 128, MaxMapPairs: 128}.DecMode()
		must(err)
		return m
	}()
)

// must ends the process at its start: the options above are constants.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// OpenInclusion verifies a COSE receipt: the entry's leaf hash and the path give a root, and the key signed that root for
// this origin and size. It accepts what SignInclusion writes, byte for byte, and nothing else. Errors are of kind Invalid,
// TooLarge or Corrupt.
func OpenInclusion(text, entry []byte, key ed25519.PublicKey) (Inclusion, error) {
	const op = "cose.open"
	if len(text) > MaxCOSE {
		return Inclusion{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(text), MaxCOSE)
	}
	m := cose.NewSign1Message()
	if err := m.UnmarshalCBOR(text); err != nil {
		return Inclusion{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a tagged COSE_Sign1").Because(err)
	}
	in, err := claims(m)
	if err != nil {
		return Inclusion{}, err
	}
	if in.Root, err = in.root(entry); err != nil {
		return Inclusion{}, vaultmesh.Wrap(err, op, "")
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, key)
	if err != nil {
		return Inclusion{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not an ed25519 key").Because(err)
	}
	m.Payload = in.Root[:]
	if err := m.Verify(nil, verifier); err != nil {
		return Inclusion{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the log's key has not signed that the entry is number %d of %d", in.Index, in.Size)
	}
	// A decoded message keeps its headers as they were spelled: it is written anew.
	fresh, err := in.message(key)
	if err != nil {
		return Inclusion{}, vaultmesh.Wrap(err, op, "")
	}
	fresh.Signature = m.Signature
	if again, err := fresh.MarshalCBOR(); err != nil || !bytes.Equal(again, text) {
		return Inclusion{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it is not in the one form in which it may be written").Because(err)
	}
	return in, nil
}

// claims reads the headers.
func claims(m *cose.Sign1Message) (in Inclusion, err error) {
	bad := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "cose.open", "", format, args...)
	}
	if m.Payload != nil {
		return in, bad("the payload must be detached")
	}
	if vds, ok := m.Headers.Protected[labelVDS].(int64); !ok || vds != rfc9162SHA256 {
		return in, bad("the data structure is not RFC9162_SHA256")
	}
	if alg, err := m.Headers.Protected.Algorithm(); err != nil || alg != cose.AlgorithmEdDSA {
		return in, bad("the algorithm is not EdDSA")
	}
	if len(m.Headers.Protected) != 4 || len(m.Headers.Unprotected) != 1 {
		return in, bad("%d protected and %d unprotected headers, want 4 and 1", len(m.Headers.Protected), len(m.Headers.Unprotected))
	}
	cwt, ok := m.Headers.Protected[cose.HeaderLabelCWTClaims].(map[any]any)
	if !ok || len(cwt) != 2 {
		return in, bad("the claims are not iss and sub")
	}
	in.Origin, _ = cwt[claimIssuer].(string)
	subject, _ := cwt[claimSubject].(string)
	proofs, _ := m.Headers.Unprotected[labelVDP].(map[any]any)
	list, _ := proofs[proofsInclusion].([]any)
	if len(proofs) != 1 || len(list) != 1 {
		return in, bad("want one inclusion proof")
	}
	raw, ok := list[0].([]byte)
	if !ok {
		return in, bad("the inclusion proof is not a byte string")
	}
	var p struct {
		_     struct{} `cbor:",toarray"`
		Size  uint64
		Index uint64
		Path  [][]byte
	}
	if err := decoder.Unmarshal(raw, &p); err != nil {
		return in, bad("the inclusion proof cannot be read: %.100s", fmt.Sprint(err))
	}
	in.Size, in.Index = p.Size, p.Index
	if size, ok := strings.CutPrefix(subject, subjectPrefix); !ok || size != strconv.FormatUint(in.Size, 10) {
		return in, bad("the signed claim is about %.40q, the proof about a tree of %d", subject, in.Size)
	}
	for _, h := range p.Path {
		if len(h) != len(vaultmesh.Digest{}) {
			return in, bad("a hash has %d bytes", len(h))
		}
		in.Path = append(in.Path, vaultmesh.Digest(h))
	}
	return in, nil
}
