package audit

import (
	"context"
	"io"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
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
