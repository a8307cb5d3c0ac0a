// Package constitution owns the customer's specification of the digital twin: its exact text, its digest, and the
// charter that adopts it in a domain's log. It is on floor 5.
//
// It must not know how its rules are enforced; the gate, the journal and the log do that.
package constitution

import (
	_ "embed"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh"
)

// URI is the name under which faces serve the text.
const URI = "spec://digital-twin/constitution"

//go:embed vaultmesh_mcp_digital_twin.yaml
var text string

// Text returns the specification, byte for byte.
func Text() string { return text }

// Digest returns the SHA-256 digest of the text.
func Digest() vaultmesh.Digest { return vaultmesh.Sum([]byte(text)) }

// Head is the part of the specification that names it.
type Head struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// Read returns the name and the version that the text states.
func Read() (Head, error) {
	var h Head
	if err := yaml.Unmarshal([]byte(text), &h); err != nil {
		return Head{}, vaultmesh.Errorf(vaultmesh.Corrupt, "constitution.read", URI, "the embedded text is not YAML").Because(err)
	}
	if h.Name == "" || h.Version == "" {
		return Head{}, vaultmesh.Errorf(vaultmesh.Corrupt, "constitution.read", URI, "the text states no name or no version")
	}
	return h, nil
}
