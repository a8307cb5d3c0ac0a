package constitution_test

import (
	"testing"

	"vaultmesh.org/vaultmesh/constitution"
)

// The text is the customer's word: any change to the file is a change of the constitution and must be deliberate.
func TestTextIsTheCustomers(t *testing.T) {
	const want = "sha256:95b8d494c3e1af54cae915ecfd5a2f93f79b02db23cd4c77b1295ec14c8e12b5"
	if got := constitution.Digest().String(); got != want {
		t.Fatalf("the constitution has digest %s, want %s", got, want)
	}
	h, err := constitution.Read()
	if err != nil || h.Name != "vaultmesh_mcp_digital_twin" || h.Version != "1.0.0" {
		t.Fatalf("head %+v, %v", h, err)
	}
}
