package vaultmesh_test

import (
	"encoding/json"
	"os/exec"
	"path"
	"strings"
	"testing"
)

// floors is the house: a package stands above all that it imports. The first matching prefix counts.
var floors = []struct {
	prefix string
	floor  int
}{
	{"dtdl", 1}, {"crdt", 1}, {"receipt", 1}, {"capability", 1}, {"proof", 1}, {"crowd", 1},
	{"journal", 2}, {"twin", 2}, {"lawchain", 2},
	{"device", 3}, {"gate", 3}, {"whatif", 3},
	{"control", 4}, {"energy", 4},
	{"constitution", 5},
	{"api", 6},
	{"node", 7}, {"demo", 7}, {"bench", 7}, {"cmd", 7}, {"test", 7},
}

// profiles may be named by no package below the floor that wires everything.
var profiles = []string{"energy"}

const module = "vaultmesh.org/vaultmesh"

func floorOf(pkg string) (int, bool) {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	if rel == "" {
		return 0, true
	}
	for _, f := range floors {
		if rel == f.prefix || strings.HasPrefix(rel, f.prefix+"/") {
			return f.floor, true
		}
	}
	return 0, false
}

func room(pkg string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	first, _, _ := strings.Cut(rel, "/")
	return first
}

// Nothing imports upward, every package has a floor, and no core package names a profile.
func TestFloors(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	packages := 0
	for dec.More() {
		var p struct {
			ImportPath string
			Doc        string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages++
		mine, ok := floorOf(p.ImportPath)
		if !ok {
			t.Errorf("%s has no floor: add it to the house or move it", p.ImportPath)
			continue
		}
		if p.Doc == "" && path.Base(p.ImportPath) != "vaultmesh" {
			t.Errorf("%s has no doc comment that says what it owns", p.ImportPath)
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			theirs, ok := floorOf(imp)
			if !ok {
				continue // reported on its own
			}
			if theirs > mine {
				t.Errorf("%s (floor %d) imports %s (floor %d): nothing imports upward", p.ImportPath, mine, imp, theirs)
			}
			for _, profile := range profiles {
				if room(imp) == profile && room(p.ImportPath) != profile && mine < 7 {
					t.Errorf("%s imports the profile %s: profiles plug in on the top floor", p.ImportPath, imp)
				}
			}
		}
	}
	if packages < 10 {
		t.Fatalf("only %d packages were found", packages)
	}
}
