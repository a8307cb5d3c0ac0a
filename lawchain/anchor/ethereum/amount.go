package ethereum

import (
	"math/big"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// units are the names of amounts and their decimal places in wei.
var units = map[string]int{"wei": 0, "gwei": 9, "ether": 18}

// ParseAmount reads an amount as people write it, a number and its unit: "1.5 gwei", "0.002 ether", "21000 wei". It must be
// a whole number of wei above zero.
func ParseAmount(s string) (*big.Int, error) {
	bad := vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.amount", "", "%.80q", s).WithFix("write a number and wei, gwei or ether, for example \"30 gwei\"")
	number, unit, _ := strings.Cut(strings.TrimSpace(s), " ")
	places, ok := units[strings.TrimSpace(unit)]
	whole, fraction, _ := strings.Cut(number, ".")
	if !ok || whole == "" || len(fraction) > places {
		return nil, bad
	}
	n, err := parseWei("amount", whole+fraction+strings.Repeat("0", places-len(fraction)))
	if err != nil || n.Sign() == 0 {
		return nil, bad
	}
	return n, nil
}

// FormatAmount writes an amount as [ParseAmount] reads it, in the largest unit in which it is at least one.
func FormatAmount(n *big.Int) string {
	digits := n.String()
	for _, unit := range [...]string{"ether", "gwei"} {
		if places := units[unit]; len(digits) > places {
			text := strings.TrimRight(digits[:len(digits)-places]+"."+digits[len(digits)-places:], "0")
			return strings.TrimSuffix(text, ".") + " " + unit
		}
	}
	return digits + " wei"
}
