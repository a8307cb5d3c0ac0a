package audit

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

func TestReadInput(t *testing.T) {
	if b, err := readInput(t.Context(), strings.NewReader("12345"), 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := readInput(t.Context(), strings.NewReader("123456"), 5); err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("beyond the limit: %q, %v", b, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	silent, writer := io.Pipe()
	defer writer.Close()
	if _, err := readInput(ended, silent, 5); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("a stream that never ends: %v", err)
	}
}

// Who takes a bundle apart for other tools is told which of the keys were retired: those tools do not look.
func TestExtractListsRetiredKeys(t *testing.T) {
	w := sample.New(t)
	b, err := receipt.DecodeBundle(w.Pack(w.Everything()))
	if err != nil {
		t.Fatal(err)
	}
	trust := w.Trust()
	trust.Retired = []receipt.RetiredKey{{ID: w.Key.KeyID(), Until: 1204}}
	dir := t.TempDir()
	if err := Extract(b, trust, dir); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "keys", "list.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		if retired := strings.Contains(line, w.Key.KeyID()); retired != strings.Contains(line, "until 1204") || retired == strings.Contains(line, "no end") {
			t.Error(line)
		}
	}
	if !strings.Contains(string(list), w.Key.KeyID()) || !strings.HasPrefix(string(list), "log-") {
		t.Errorf("%s", list)
	}
}
