package mcpapi

import (
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// The proof of an HTTP request goes into the receipt only where an auditor can find the proposal in the signed message.
// It is never dropped in silence: the receipt would look as if a client certificate had proved possession.
func TestProofOfTheMessage(t *testing.T) {
	s := &Server{}
	for text, want := range map[string]bool{
		`{"jsonrpc":"2.0","method":"tools/call"}`:   true,
		"\n\t " + `{"method":"tools/call"}`:         true,
		`[{"jsonrpc":"2.0","method":"tools/call"}]`: false,
		` [{"method":"tools/call"}]`:                false,
	} {
		caller := control.Caller{Proof: "signature", Target: &receipt.ProofTarget{Method: "POST", Path: "/mcp", Request: []byte(text)}}
		got, err := s.possession(call{remote: true, caller: caller}, control.Proposal{})
		if want && (err != nil || got.Proof != "signature" || got.Target == nil) {
			t.Errorf("%q: %+v %v, want the proof kept", text, got, err)
		}
		if !want && vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%q: %+v %v, want a refusal", text, got, err)
		}
	}
	// With a client certificate there is no proof to keep.
	if got, err := s.possession(call{remote: true}, control.Proposal{}); err != nil || got.Proof != "" {
		t.Errorf("without a proof: %+v %v", got, err)
	}
}
