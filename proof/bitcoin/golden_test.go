package bitcoin

import (
	"bytes"
	"os"
	"testing"

	"vaultmesh.org/vaultmesh"
)

// TestGolden reads a proof that was made from the blocks of a real btcd, and the .ots of it that python3-opentimestamps
// accepted: neither form may change.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/regtest.json")
	if err != nil {
		t.Fatal(err)
	}
	ots, err := os.ReadFile("testdata/regtest.ots")
	if err != nil {
		t.Fatal(err)
	}
	digest := vaultmesh.Sum([]byte("vaultmesh.test/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"))
	p, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := VerifyOTS(ots, raw, digest, pinTip(p))
	if err != nil || !r.Pinned || r.Confirmations != 3 || len(p.Branch) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if again, err := OTS(raw); err != nil || !bytes.Equal(again, ots) {
		t.Errorf("the export is another: %v", err)
	}
}
