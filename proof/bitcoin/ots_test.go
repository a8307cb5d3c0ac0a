package bitcoin

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

func exported(t testing.TB, p *Proof) []byte {
	t.Helper()
	ots, err := OTS(encode(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return ots
}

func TestOTS(t *testing.T) {
	p := good(t)
	ots := exported(t, p)
	s, err := ReadOTS(ots)
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest != digest || len(s.Blocks) != 1 || s.Blocks[0] != (Attestation{p.Height, p.Header.Root()}) || s.Others != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := VerifyOTS(ots, encode(t, p), digest, pinTip(p)); err != nil {
		t.Error(err)
	}
	for i := range ots {
		bad := bytes.Clone(ots)
		bad[i] ^= 1
		if _, err := VerifyOTS(bad, encode(t, p), digest, pinTip(p)); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
		if _, err := ReadOTS(ots[:i]); err == nil {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
	if _, err := ReadOTS(append(bytes.Clone(ots), 0)); err == nil {
		t.Error("a byte more: accepted")
	}
	// What does not hold is not exported.
	p.Index ^= 1
	if _, err := OTS(encode(t, p)); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a broken proof is exported: %v", err)
	}
}

// TestOTSOfStrangers reads a file with a fork and an attestation of another kind, as calendars write them, and refuses
// what is unbounded.
func TestOTSOfStrangers(t *testing.T) {
	ots := exported(t, good(t))
	head, rest := ots[:len(otsMagic)+34], ots[len(otsMagic)+34:]
	pending := append([]byte{otsAttestation, 0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e, 3, 2}, "hi"...)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	s, err := ReadOTS(join(head, []byte{otsFork, otsSHA256}, pending, []byte{otsFork}, pending, rest))
	if err != nil || s.Others != 2 || len(s.Blocks) != 1 || s.Blocks[0].Root != good(t).Header.Root() {
		t.Errorf("%+v, %v", s, err)
	}
	long := binary.AppendUvarint([]byte{otsAppend}, MaxTx)
	for name, c := range map[string]struct {
		rest []byte
		want string
	}{
		"another operation":    {[]byte{0x67, 0}, "not one of"},
		"endless":              {bytes.Repeat([]byte{otsSHA256}, maxOperations+1), "operations"},
		"forks":                {bytes.Repeat([]byte{otsFork}, maxOperations+1), "operations"},
		"attestations":         {bytes.Repeat(append([]byte{otsFork}, pending...), maxAttestations+1), "attestations"},
		"result too long":      {join(long, make([]byte, MaxTx), rest), "more than 4096"},
		"operand beyond end":   {[]byte{otsAppend, 200, 1}, "beyond the end"},
		"operand of no length": {[]byte{otsAppend, 0}, "a length"},
		"attested long value":  {join([]byte{otsAppend, 1, 1, otsAttestation}, otsBlock[:], []byte{1, 1}), "Merkle root"},
		"height with a tail":   {join([]byte{otsAttestation}, otsBlock[:], []byte{2, 1, 1}), "height"},
		"payload too long":     {join([]byte{otsAttestation}, otsBlock[:], binary.AppendUvarint(nil, maxPayload+1), make([]byte, maxPayload+1)), "a length"},
	} {
		if _, err := ReadOTS(join(head, c.rest)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
