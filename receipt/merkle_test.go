package receipt

import (
	"encoding/hex"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

// TestBatchRootVectors checks the tree against hashes worked out by hand from RFC 6962 section 2.1.
func TestBatchRootVectors(t *testing.T) {
	leaf := func(s string) vaultmesh.Digest { return MessageLeaf("t", []byte(s)) }
	node := func(l, r vaultmesh.Digest) vaultmesh.Digest {
		return vaultmesh.Sum(append(append([]byte{1}, l[:]...), r[:]...))
	}
	if want := vaultmesh.Sum([]byte("\x00t\x00a")); leaf("a") != want {
		t.Errorf("leaf %s, want %s", leaf("a"), want)
	}
	a, b, c := leaf("a"), leaf("b"), leaf("c")
	for n, want := range map[int]vaultmesh.Digest{0: vaultmesh.Sum(nil), 1: a, 2: node(a, b), 3: node(node(a, b), c)} {
		if got, err := BatchRoot([]vaultmesh.Digest{a, b, c}[:n]); err != nil || got != want {
			t.Errorf("root of %d leaves is %s, %v, want %s", n, got, err, want)
		}
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // RFC 6962, MTH({})
	if root, _ := BatchRoot(nil); hex.EncodeToString(root[:]) != empty {
		t.Errorf("root of nothing is %s", root)
	}
}

func TestMessageProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		leaves := make([]vaultmesh.Digest, n)
		for i := range leaves {
			leaves[i] = MessageLeaf("vm/d/tel/t", fmt.Append(nil, i))
		}
		root, err := BatchRoot(leaves)
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		path, err := ProveMessage(leaves, i)
		if err != nil {
			t.Fatal(err)
		}
		p := MessageProof{Batch: 7, Index: uint64(i), Path: path, Topic: "vm/d/tel/t", Payload: fmt.Append(nil, i)}
		body := BatchBody{Root: root, Count: uint64(n)}
		if err := p.Verify(body); err != nil {
			t.Fatal(err)
		}
		q, err := OpenMessageProof(p.Encode())
		if err != nil || q.Verify(body) != nil {
			t.Fatalf("%v: %+v", err, q)
		}
		for name, spoil := range map[string]func(p *MessageProof, b *BatchBody){
			"payload":     func(p *MessageProof, _ *BatchBody) { p.Payload = []byte("x") },
			"topic":       func(p *MessageProof, _ *BatchBody) { p.Topic = "vm/d/tel/u" },
			"NUL":         func(p *MessageProof, _ *BatchBody) { p.Topic, p.Payload = "vm/d/tel/t\x00", nil },
			"index":       func(p *MessageProof, _ *BatchBody) { p.Index++ },
			"root":        func(_ *MessageProof, b *BatchBody) { b.Root[0] ^= 1 },
			"longer path": func(p *MessageProof, _ *BatchBody) { p.Path = append(p.Path, root) },
		} {
			bad, b := p, body
			spoil(&bad, &b)
			if bad.Verify(b) == nil {
				t.Fatalf("%s: verified", name)
			}
		}
	})
	if _, err := ProveMessage(nil, 0); err == nil {
		t.Error("proved a message of an empty batch")
	}
	if _, err := BatchRoot(make([]vaultmesh.Digest, MaxBatch+1)); err == nil {
		t.Error("a batch beyond the limit has a root")
	}
}
