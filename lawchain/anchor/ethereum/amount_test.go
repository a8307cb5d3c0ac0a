package ethereum

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestAmount(t *testing.T) {
	for text, want := range map[string]string{"30 gwei": "30000000000", "1.5 gwei": "1500000000", "0.002 ether": "2000000000000000", "21000 wei": "21000", " 1  wei": "1", "0.000000001 gwei": "1"} {
		if n, err := ParseAmount(text); err != nil || n.String() != want {
			t.Errorf("%q: %v %v", text, n, err)
		}
	}
	for _, bad := range []string{"", "30", "gwei", "30gwei", "-1 gwei", "0 gwei", "0.5 wei", "1.0000000001 gwei", "1e3 wei", "1 eth", ".5 gwei", "1,5 gwei", "1.5.5 ether", "+1 wei", "0x10 wei"} {
		if n, err := ParseAmount(bad); err == nil {
			t.Errorf("%q is %s", bad, n)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 12).Draw(t, "n"))
		if n.Sign() == 0 {
			return
		}
		if again, err := ParseAmount(FormatAmount(n)); err != nil || again.Cmp(n) != 0 {
			t.Fatalf("%s is written %q and read %v %v", n, FormatAmount(n), again, err)
		}
	})
}
