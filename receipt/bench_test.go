package receipt

import (
	"encoding/json"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	d, l := sampleDraft()
	d.Body = json.RawMessage(`{"count":"1000","first":"2026-01-02T03:04:05.123456Z","last":"2026-01-02T03:04:05.223456Z","root":"sha256:fb56a5afa9a3a50e4787f154367d8876482c75bccaaefd19e63b843ac0c0ef3c"}`)
	key := newTestKey("receipt")
	env, err := Encode("dev", d, l, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("floor: bare ed25519 of the same length", func(b *testing.B) {
		for b.Loop() {
			if _, err := key.Sign(env[:len(env)*3/4]); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, signer := range map[string]Signer{"unsigned": nil, "signed": key} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode("dev", d, l, signer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	d, l := sampleDraft()
	env, err := Encode("dev", d, l, newTestKey("receipt"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify judges a whole command: 13 receipts with their proofs, a time-stamp, two approvals, one message.
func BenchmarkVerify(b *testing.B) {
	t := &testing.T{}
	s := newStory(t)
	bundle := s.export()
	pinned := trust(t, s)
	b.ReportAllocs()
	for b.Loop() {
		if !Verify(bundle, pinned).OK {
			b.Fatal("refused")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(s.envelopes)), "µs/receipt")
}
