package receipt_test

import (
	"slices"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// That no halt stood is proved by the whole history of the switch, as of a state after the command.
func TestNoHaltIsProved(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	r := receipt.Verify(bundle, w.Trust())
	if !r.OK || !slices.ContainsFunc(r.Checks, func(c receipt.Check) bool {
		return c.Name == "command.halt["+string(sample.Command)+"]" && !c.Empty && strings.Contains(c.Detail, "by the state of the log")
	}) || slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, "halted") }) {
		t.Error(tree(t, r, false))
	}
}
