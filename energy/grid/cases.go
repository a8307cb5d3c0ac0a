package grid

import (
	"embed"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

//go:embed cases/*.grid
var caseFiles embed.FS

// Cases returns the names of the cases that are shipped, in order of size.
func Cases() []string { return []string{"ieee14", "ieee30", "ieee118"} }

// Load returns a shipped case, the caller's own copy; NotFound tells which there are. Each file says where its figures
// come from and which are this project's own.
func Load(name string) (*powerflow.Case, error) {
	for _, known := range Cases() {
		if name != known {
			continue
		}
		data, err := caseFiles.ReadFile("cases/" + name + ".grid")
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Internal, "grid.load", name, "the embedded file is missing").Because(err)
		}
		return Parse(data)
	}
	return nil, vaultmesh.Errorf(vaultmesh.NotFound, "grid.load", strings.ToValidUTF8(name[:min(len(name), 64)], "?"), "no such case").
		WithFix("use one of %s, or a case file of your own", strings.Join(Cases(), ", "))
}
