package receipt

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// The body of a checkpoint is what was signed, however many have signed it.
func TestCheckpointBody(t *testing.T) {
	var signers []note.Signer
	for _, name := range []string{"vaultmesh.test/log", "witness.test/one", "witness.test/two"} {
		secret, _, err := note.GenerateKey(strings.NewReader(strings.Repeat(name, 20)), name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := note.NewSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, s)
	}
	for _, text := range []string{"vaultmesh.test/log\n7\nAAAA\n", "vaultmesh.test/log\n7\nAAAA\nextension\n", "a blank line\n\nwithin\n"} {
		for n := 1; n <= len(signers); n++ {
			signed, err := note.Sign(&note.Note{Text: text}, signers[:n]...)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := CheckpointBody(signed); err != nil || string(body) != text {
				t.Errorf("%d signatures: %q %v", n, body, err)
			}
		}
	}
	for _, bad := range []string{"", "\n\n", "text\n", "text\n\nmore text\n", "text\n\n- not a signature\n"} {
		if body, err := CheckpointBody([]byte(bad)); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil {
			t.Errorf("%q: %q %v", bad, body, err)
		}
	}
	if _, err := CheckpointBody(make([]byte, maxNote+1)); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Error(err)
	}
}

func FuzzCheckpointBody(f *testing.F) {
	f.Add([]byte("vaultmesh.test/log\n7\nAAAA\n\n\u2014 vaultmesh.test/log AAAA\n"))
	f.Add([]byte("\n\n\u2014 "))
	f.Add([]byte("a\n\nb\n\n\u2014 x y\n\u2014 z w\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, err := CheckpointBody(raw)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(raw, body) || len(body) == 0 || body[len(body)-1] != '\n' {
			t.Fatalf("%q of %q", body, raw)
		}
		// Further signatures change nothing.
		again, err := CheckpointBody(append(bytes.Clone(raw), "\u2014 another AAAA\n"...))
		if err == nil && !bytes.Equal(again, body) {
			t.Fatalf("%q, then %q", body, again)
		}
	})
}
