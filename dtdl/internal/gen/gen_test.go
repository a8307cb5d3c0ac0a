package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestReproduced holds that the tables in the repository are, byte for byte, what the digest gives.
func TestReproduced(t *testing.T) {
	root := os.Getenv("VAULTMESH_TESTDATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	digest, err := os.ReadFile(filepath.Join(root, "dtdl", "metamodel", "dtdl_digest.json"))
	if err != nil {
		if os.Getenv("VAULTMESH_REQUIRE_TESTDATA") == "1" {
			t.Fatalf("the test data is required: %v", err)
		}
		t.Skipf("the test data is absent: set VAULTMESH_TESTDATA to the folder that holds dtdl (%v)", err)
	}
	want, err := os.ReadFile(filepath.Join("..", "..", "metamodel_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // maps are walked in another order each time
		got, err := Generate(digest)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("metamodel_gen.go is not what the digest gives: run go generate ./dtdl")
		}
	}
}

// TestRefusals gives digests that the tables cannot hold.
func TestRefusals(t *testing.T) {
	for name, digest := range map[string]string{
		"no JSON":           `{`,
		"unknown pattern":   `{"materialClasses":{"A":{"typeIds":["dtmi:dtdl:class:A"],"properties":{"p":{"_":{"datatype":"string"},"2":{"allowed":true,"pattern":"^x$"}}}}}}`,
		"unknown datatype":  `{"materialClasses":{"A":{"typeIds":["dtmi:dtdl:class:A"],"properties":{"p":{"_":{"datatype":"float"}}}}}}`,
		"unknown class":     `{"materialClasses":{"A":{"typeIds":["dtmi:dtdl:class:B"]}}}`,
		"unknown extension": `{"supplementalTypes":{"dtmi:x:y":{"extensionKind":"Other"}}}`,
	} {
		if _, err := Generate([]byte(digest)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
