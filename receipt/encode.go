package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// Encode returns the DSSE envelope of a receipt: one line of RFC 8785 JSON, the same bytes for the same input. With a
// nil signer the envelope has no signature and is covered by the checkpoint alone. It refuses what [Open] would refuse.
func Encode(domain vaultmesh.Domain, d Draft, l Link, s Signer) ([]byte, error) {
	if len(d.Body) == 0 {
		d.Body = emptyObject
	}
	if err := checkDraft(domain, &d, l); err != nil {
		return nil, err
	}
	buffer := statements.Get().(*[]byte)
	stmt := appendStatement((*buffer)[:0], domain, &d, l)
	defer func() {
		if *buffer = stmt; cap(stmt) <= maxPooled {
			statements.Put(buffer)
		}
	}()
	var keyID string
	var sig []byte
	if s != nil {
		var err error
		if sig, err = s.Sign(pae(PayloadType, stmt)); err != nil {
			return nil, vaultmesh.Wrap(err, "receipt.sign", d.Subject)
		}
		keyID = s.KeyID()
		if len(sig) != ed25519.SignatureSize || !validKeyID(keyID) {
			return nil, vaultmesh.Errorf(vaultmesh.Internal, "receipt.sign", d.Subject,
				"the signer returned %d bytes under key id %.80q, want 64 bytes and \"ed25519:\" with 32 hexadecimal digits", len(sig), keyID)
		}
	}
	env := appendEnvelope(make([]byte, 0, base64.StdEncoding.EncodedLen(len(stmt))+256), stmt, keyID, sig)
	if len(env) > MaxEntry {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "receipt.encode", d.Subject,
			"the envelope has %d bytes, an entry of the log may have %d", len(env), MaxEntry).
			WithFix("keep large documents outside and put their digest into the body")
	}
	return env, nil
}

var emptyObject = []byte("{}")

// statements are buffers for statements, which nothing keeps: what is signed is made of a copy, and so is the envelope.
var statements = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

const maxPooled = 16 << 10

// checkDraft enforces every rule on the fields, so that what is encoded can always be opened again.
func checkDraft(domain vaultmesh.Domain, d *Draft, l Link) error {
	const op = "receipt.encode"
	if _, ok := kinds[d.Kind]; !ok {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "unknown kind %.64q", d.Kind).WithFix("use one of receipt.Kinds")
	}
	if err := vaultmesh.CheckID("domain", string(domain)); err != nil {
		return err
	}
	if err := vaultmesh.CheckID("actor", string(d.Actor)); err != nil {
		return err
	}
	if err := checkSubject(d.Subject); err != nil {
		return err
	}
	if y := d.Time.UTC().Year(); y < 1970 || y > 9999 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "the time lies in year %d, want 1970 to 9999", y).
			WithFix("set Draft.Time")
	}
	for _, f := range [...]struct{ name, text string }{{"decision", d.Decision}, {"outcome", d.Outcome}} {
		if len(f.text) > MaxText || !utf8.ValidString(f.text) {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "%s must be UTF-8 of at most %d bytes", f.name, MaxText)
		}
	}
	if len(d.Causes) > MaxCauses {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, d.Subject, "%d causes, at most %d", len(d.Causes), MaxCauses)
	}
	for _, c := range d.Causes {
		if c.Leaf.IsZero() {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "a cause has no leaf hash")
		}
	}
	if (l.Seq == 0) != (l.Prev == nil) || l.Prev != nil && l.Prev.Leaf.IsZero() {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject,
			"seq %d and prev do not fit: the first receipt of a subject has seq 0 and no prev, every other has both", l.Seq)
	}
	if d.Body[0] != '{' {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "the body must be a JSON object")
	}
	sc := scanner{data: d.Body, maxDepth: MaxDepth}
	canonical, err := sc.document()
	if err != nil {
		return vaultmesh.Wrap(err, op, d.Subject)
	}
	if !canonical {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, d.Subject, "the body is not canonical JSON (RFC 8785)").
			WithFix("pass it through receipt.Canonical")
	}
	return nil
}

// checkSubject accepts the alphabet of identifiers and slashes, which separate a class from a name.
func checkSubject(s string) error {
	if s == "" || len(s) > 2*vaultmesh.MaxID {
		return vaultmesh.Errorf(vaultmesh.Invalid, "receipt.subject", "", "a subject has 1 to %d bytes, this has %d", 2*vaultmesh.MaxID, len(s))
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			i > 0 && (c == '.' || c == '_' || c == ':' || c == '@' || c == '/' || c == '-')) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "receipt.subject", "", "byte %d of %.80q is not allowed: letters and digits, then also . _ : @ / -", i, s)
		}
	}
	return nil
}

// appendStatement writes the in-toto Statement with its members in RFC 8785 order.
func appendStatement(b []byte, domain vaultmesh.Domain, d *Draft, l Link) []byte {
	b = append(b, `{"_type":"`+StatementType+`","predicate":{"actor":`...)
	b = appendString(b, string(d.Actor))
	b = append(b, `,"body":`...)
	b = append(b, d.Body...)
	b = append(b, `,"capability":`...)
	b = appendDigest(b, d.Capability)
	b = append(b, `,"causes":[`...)
	for i, c := range d.Causes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRef(b, c)
	}
	b = append(b, `],"decision":`...)
	b = appendString(b, d.Decision)
	b = append(b, `,"domain":`...)
	b = appendString(b, string(domain))
	b = append(b, `,"kind":`...)
	b = appendString(b, d.Kind)
	b = append(b, `,"outcome":`...)
	b = appendString(b, d.Outcome)
	b = append(b, `,"policy":`...)
	b = appendDigest(b, d.Policy)
	b = append(b, `,"prev":`...)
	if l.Prev == nil {
		b = append(b, "null"...)
	} else {
		b = appendRef(b, *l.Prev)
	}
	b = append(b, `,"seq":"`...)
	b = strconv.AppendUint(b, l.Seq, 10)
	b = append(b, `","time":"`...)
	b = d.Time.UTC().Truncate(time.Microsecond).AppendFormat(b, TimeFormat)
	b = append(b, `"},"predicateType":"`+PredicateType+`","subject":[{"digest":{"sha256":"`...)
	sum := sha256.Sum256(d.Body)
	b = hex.AppendEncode(b, sum[:])
	b = append(b, `"},"name":`...)
	b = appendString(b, d.Subject)
	return append(b, `}]}`...)
}

// appendEnvelope writes the DSSE envelope with its members in RFC 8785 order.
func appendEnvelope(b, stmt []byte, keyID string, sig []byte) []byte {
	b = append(b, `{"payload":"`...)
	b = base64.StdEncoding.AppendEncode(b, stmt)
	b = append(b, `","payloadType":"`+PayloadType+`","signatures":[`...)
	if keyID != "" {
		b = append(b, `{"keyid":`...)
		b = appendString(b, keyID)
		b = append(b, `,"sig":"`...)
		b = base64.StdEncoding.AppendEncode(b, sig)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

func appendRef(b []byte, r Ref) []byte {
	b = append(b, `{"index":"`...)
	b = strconv.AppendUint(b, uint64(r.Index), 10)
	b = append(b, `","leaf":`...)
	b = appendDigest(b, r.Leaf)
	return append(b, '}')
}

// appendDigest writes the text form of d; the zero digest is the empty string.
func appendDigest(b []byte, d vaultmesh.Digest) []byte {
	if d.IsZero() {
		return append(b, '"', '"')
	}
	b = append(b, `"sha256:`...)
	b = hex.AppendEncode(b, d[:])
	return append(b, '"')
}

// appendString writes s as RFC 8785 section 3.2.2.2 asks: only what must be escaped is.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case shortEscape[c] != 0:
			b = append(b, '\\', shortEscape[c])
		default:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(b, '"')
}

// shortEscape holds the letter of each control character that has an escape of two characters.
var shortEscape = [32]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r'}

// pae is the pre-authentication encoding of DSSE v1: what a signature over a payload of a type is over. It is written out
// here, since the library's package brings all of SSH into the verifier; the tests compare the two.
func pae(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len("DSSEv1  20 20 ")+len(payloadType)+len(payload)+8)
	b = append(b, "DSSEv1 "...)
	b = append(strconv.AppendInt(b, int64(len(payloadType)), 10), ' ')
	b = append(append(b, payloadType...), ' ')
	b = append(strconv.AppendInt(b, int64(len(payload)), 10), ' ')
	return append(b, payload...)
}

func validKeyID(s string) bool {
	if len(s) != len("ed25519:")+32 || s[:8] != "ed25519:" {
		return false
	}
	for _, c := range []byte(s[8:]) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
