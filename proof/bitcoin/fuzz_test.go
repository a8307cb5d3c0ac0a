package bitcoin

import (
	"bytes"
	"testing"
)

// FuzzDecode: a proof has one text, and nothing that holds commits to two digests or loses its export.
func FuzzDecode(f *testing.F) {
	p := good(f)
	raw := encode(f, p)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(encode(f, proofOf(f, rawTx(Script(digest)), 1, 0, 0)))
	f.Add([]byte(`{"branch":[],"following":[],"format":"vaultmesh-bitcoin/v1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("decoded, and written otherwise: %q, %v", again, err)
		}
		if _, err := Verify(raw, digest, Params{Network: Regtest, Confirmations: 1}); err != nil {
			return
		}
		ots, err := OTS(raw)
		if err != nil {
			t.Fatalf("it holds and cannot be exported: %v", err)
		}
		if _, err := VerifyOTS(ots, raw, digest, Params{Network: Regtest, Confirmations: 1}); err != nil {
			t.Fatalf("its export does not hold: %v", err)
		}
	})
}

// FuzzOTS: reading any file ends, without panic, within the bounds.
func FuzzOTS(f *testing.F) {
	ots := exported(f, good(f))
	f.Add(ots)
	f.Add(append(append(bytes.Clone(ots[:len(otsMagic)+34]), otsFork), ots[len(otsMagic)+34:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadOTS(data)
		if err == nil && len(s.Blocks)+s.Others == 0 {
			t.Fatal("a file without an attestation was accepted")
		}
	})
}

// FuzzTx: whatever we take for a transaction, the library that btcd uses reads in the same way.
func FuzzTx(f *testing.F) {
	f.Add(rawTx(Script(digest), change))
	f.Add(tx64())
	f.Fuzz(func(t *testing.T, raw []byte) { sameAsLibrary(t, raw) })
}

func BenchmarkVerify(b *testing.B) {
	p := proofOf(b, rawTx(Script(digest), change), 4000, 1234, 5)
	raw := encode(b, p)
	trust := Params{Network: Regtest}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(raw, digest, trust); err != nil {
			b.Fatal(err)
		}
	}
}
