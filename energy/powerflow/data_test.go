package powerflow_test

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// reference opens a file of the reference data, which is not part of the repository.
func reference(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("VAULTMESH_TESTDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	data, err := os.ReadFile(filepath.Join(dir, "energy", "matpower", name))
	if err != nil {
		if os.Getenv("VAULTMESH_REQUIRE_TESTDATA") == "1" {
			t.Fatalf("the reference data is required: %v", err)
		}
		t.Skipf("no reference data: %v (set VAULTMESH_TESTDATA)", err)
	}
	return data
}

func matpowerCase(t testing.TB, name string) *powerflow.Case {
	t.Helper()
	c, err := grid.ReadMatpower(reference(t, name+".m"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func matpowerNetwork(t testing.TB, name string) *powerflow.Network {
	t.Helper()
	n, err := powerflow.Compile(matpowerCase(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// table reads a reference table, the header dropped; an empty cell is 0.
func table(t testing.TB, name string) [][]float64 {
	t.Helper()
	f, err := csv.NewReader(bytes.NewReader(reference(t, filepath.Join("ref", name+".csv")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float64, 0, len(f)-1)
	for _, row := range f[1:] {
		v := make([]float64, len(row))
		for i, cell := range row {
			if cell == "" {
				continue
			}
			if v[i], err = strconv.ParseFloat(cell, 64); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, v)
	}
	return out
}
