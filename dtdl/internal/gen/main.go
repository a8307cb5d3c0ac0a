// Command gen turns the digest of DTDL's metamodel into the Go tables of package dtdl.
//
//	go run ./internal/gen -from DIR -out metamodel_gen.go
//
// DIR holds dtdl_digest.json. The same digest always gives the same bytes. Without -from the digest is looked
// for below VAULTMESH_TESTDATA, or else in the folder of shared data beside the module.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	from := flag.String("from", defaultFolder(), "folder with dtdl_digest.json")
	out := flag.String("out", "metamodel_gen.go", "file to write")
	flag.Parse()
	if err := run(*from, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(from, out string) error {
	digest, err := os.ReadFile(filepath.Join(from, "dtdl_digest.json"))
	if err != nil {
		return err
	}
	text, err := Generate(digest)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644)
}

// defaultFolder is right where the command runs in the folder of package dtdl, as go generate does.
func defaultFolder() string {
	root := os.Getenv("VAULTMESH_TESTDATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	return filepath.Join(root, "dtdl", "metamodel")
}
