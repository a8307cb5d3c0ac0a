package receipt_test

import (
	"slices"
	"testing"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// FuzzVerifyPart lets the domain, which has its keys, put anything in the place of a part of a bundle with every kind of
// proof: nothing panics, and nothing but what proves less than before (a proof that leads to no pinned block or root,
// cosignatures that nobody asks for, another scope) is accepted in the place of what was there.
func FuzzVerifyPart(f *testing.F) {
	w := sample.New(f)
	parts := w.Everything()
	trust := w.Trust()
	for i, p := range parts {
		f.Add(uint8(i), p.Data)
	}
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		i := int(n) % len(parts)
		bad := append([]receipt.Part(nil), parts...)
		bad[i].Data = data
		bundle, err := receipt.EncodeBundle(sample.Domain, bad, w.Key)
		if err != nil {
			return
		}
		r := receipt.Verify(bundle, trust)
		if same := string(data) == string(parts[i].Data); r.OK != same && (same || !slices.Contains([]string{receipt.PartTimestamp, receipt.PartBitcoin, receipt.PartEthereum, receipt.PartAnchored, receipt.PartScope}, bad[i].Type)) {
			t.Errorf("%s: accepted %v with %q", bad[i].Name, r.OK, data)
		}
	})
}
