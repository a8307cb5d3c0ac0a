package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Open reads an envelope. It accepts exactly what [Encode] writes: the same members in the same order, no white space,
// no other spelling of any value; so an envelope has no byte that could be changed without notice. It does not
// verify the signature. The result does not share memory with the input.
func Open(envelope []byte) (Receipt, error) {
	if len(envelope) > MaxEntry {
		return Receipt{}, vaultmesh.Errorf(vaultmesh.TooLarge, "receipt.open", "", "the envelope has %d bytes, the limit is %d", len(envelope), MaxEntry)
	}
	r := Receipt{Leaf: LeafHash(envelope)}
	e := reader{data: envelope}
	e.literal(`{"payload":"`)
	payload := e.until('"')
	e.literal(`,"payloadType":"` + PayloadType + `","signatures":[`)
	if e.peek('{') {
		e.literal(`{"keyid":`)
		r.KeyID = e.text()
		e.literal(`,"sig":"`)
		r.Signature = e.base64(e.until('"'))
		e.literal(`}`)
		if e.err == nil && (!validKeyID(r.KeyID) || len(r.Signature) != ed25519.SignatureSize) {
			e.fail("the signature is not an ed25519 signature with its key id")
		}
	}
	e.literal(`]}`)
	e.end()
	r.statement = e.base64(payload)
	if e.err != nil {
		return Receipt{}, vaultmesh.Wrap(e.err, "receipt.open", "envelope")
	}
	if err := r.readStatement(); err != nil {
		return Receipt{}, err
	}
	if err := checkDraft(r.Domain, &r.Draft, r.Link); err != nil {
		return Receipt{}, vaultmesh.Wrap(err, "receipt.open", "statement")
	}
	again := appendEnvelope(make([]byte, 0, len(envelope)), appendStatement(make([]byte, 0, len(r.statement)), r.Domain, &r.Draft, r.Link), r.KeyID, r.Signature)
	if !bytes.Equal(again, envelope) {
		return Receipt{}, vaultmesh.Errorf(vaultmesh.Invalid, "receipt.open", "envelope", "it is not in the one form in which it may be written")
	}
	return r, nil
}

// Message returns what the envelope's own signature is over: the DSSE pre-authentication encoding of its statement.
func (r *Receipt) Message() []byte { return pae(PayloadType, r.statement) }

// CheckSignature verifies the envelope's own signature with pub.
func (r *Receipt) CheckSignature(pub ed25519.PublicKey) error {
	if !r.Signed() {
		return vaultmesh.Errorf(vaultmesh.Invalid, "receipt.verify", r.Subject, "the receipt has no signature of its own")
	}
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, r.Message(), r.Signature) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "receipt.verify", r.Subject, "the signature does not verify")
	}
	return nil
}

func (r *Receipt) readStatement() error {
	s := reader{data: r.statement}
	s.literal(`{"_type":"` + StatementType + `","predicate":{"actor":`)
	r.Actor = vaultmesh.Principal(s.text())
	s.literal(`,"body":`)
	r.Body = s.json()
	s.literal(`,"capability":`)
	r.Capability = s.digest()
	s.literal(`,"causes":[`)
	for s.err == nil && s.peek('{') {
		r.Causes = append(r.Causes, s.ref())
		if s.peek(',') && len(r.Causes) < MaxCauses {
			s.literal(`,`)
			continue
		}
		break
	}
	s.literal(`],"decision":`)
	r.Decision = s.text()
	s.literal(`,"domain":`)
	r.Domain = vaultmesh.Domain(s.text())
	s.literal(`,"kind":`)
	r.Kind = s.text()
	s.literal(`,"outcome":`)
	r.Outcome = s.text()
	s.literal(`,"policy":`)
	r.Policy = s.digest()
	s.literal(`,"prev":`)
	if s.peek('n') {
		s.literal(`null`)
	} else {
		ref := s.ref()
		r.Prev = &ref
	}
	s.literal(`,"seq":"`)
	r.Seq = s.uint(s.until('"'))
	s.literal(`,"time":"`)
	r.Time = s.time(s.until('"'))
	s.literal(`},"predicateType":"` + PredicateType + `","subject":[{"digest":{"sha256":"`)
	s.until('"') // compared by writing the statement again
	s.literal(`},"name":`)
	r.Subject = s.text()
	s.literal(`}]}`)
	s.end()
	return vaultmesh.Wrap(s.err, "receipt.open", "statement")
}

// reader takes a document of a fixed form apart; after the first error it does nothing.
type reader struct {
	data []byte
	pos  int
	err  error
	cut  bool // the error is that the document ends before it is complete
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = vaultmesh.Errorf(vaultmesh.Invalid, "read", "byte "+strconv.Itoa(r.pos), format, args...)
	}
}

func (r *reader) literal(s string) {
	if r.err == nil {
		if len(r.data)-r.pos < len(s) || string(r.data[r.pos:r.pos+len(s)]) != s {
			r.cut = strings.HasPrefix(s, string(r.data[r.pos:min(len(r.data), r.pos+len(s))]))
			r.fail("want %s", s)
			return
		}
		r.pos += len(s)
	}
}

func (r *reader) peek(c byte) bool {
	return r.err == nil && r.pos < len(r.data) && r.data[r.pos] == c
}

// until returns what comes before c and steps behind c.
func (r *reader) until(c byte) []byte {
	if r.err != nil {
		return nil
	}
	n := bytes.IndexByte(r.data[r.pos:], c)
	if n < 0 {
		r.cut = true
		r.fail("want %q", c)
		return nil
	}
	r.pos += n + 1
	return r.data[r.pos-n-1 : r.pos-1]
}

func (r *reader) end() {
	if r.err == nil && r.pos != len(r.data) {
		r.fail("data after the end")
	}
}

// json passes one JSON value and returns a copy of its bytes.
func (r *reader) json() []byte {
	if r.err != nil {
		return nil
	}
	s := scanner{data: r.data, pos: r.pos, maxDepth: MaxDepth}
	if r.err = s.value(); r.err != nil {
		return nil
	}
	b := append([]byte(nil), r.data[r.pos:s.pos]...)
	r.pos = s.pos
	return b
}

// text reads a JSON string.
func (r *reader) text() string {
	if r.err != nil {
		return ""
	}
	if !r.peek('"') {
		r.cut = r.pos == len(r.data)
		r.fail("want a string")
		return ""
	}
	b := r.json()
	if r.err != nil {
		r.cut = bytes.IndexByte(r.data[r.pos+1:], '"') < 0
		return ""
	}
	out := make([]byte, 0, len(b))
	for b = b[1 : len(b)-1]; len(b) > 0; {
		c, n := nextRune(b)
		out = append(out, string(c)...)
		b = b[n:]
	}
	return string(out)
}

func (r *reader) base64(b []byte) []byte {
	if r.err != nil {
		return nil
	}
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, b)
	if err != nil {
		r.fail("not base64")
	}
	return out
}

func (r *reader) digest() (d vaultmesh.Digest) {
	s := r.text()
	if r.err == nil {
		r.err = d.UnmarshalText([]byte(s))
	}
	return d
}

func (r *reader) ref() (ref Ref) {
	r.literal(`{"index":"`)
	ref.Index = vaultmesh.LogIndex(r.uint(r.until('"')))
	r.literal(`,"leaf":`)
	ref.Leaf = r.digest()
	r.literal(`}`)
	return ref
}

func (r *reader) uint(b []byte) uint64 {
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		r.fail("want an unsigned integer of 64 bits")
	}
	return n
}

func (r *reader) time(b []byte) time.Time {
	if r.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(TimeFormat, string(b))
	if err != nil {
		r.fail("want a time like %s", TimeFormat)
	}
	return t
}
