package receipt

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// positions returns every index below n for small n, else the ends and k more, always the same.
func positions(n, k int) []int {
	if n <= k {
		k = n
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	some := []int{0, 1, n - 2, n - 1}
	for range k {
		some = append(some, r.IntN(n))
	}
	return some
}

// TestEveryByteOfABundleCounts changes single bytes of the file: each byte that is not within a part's base64, and a
// sample of each part.
func TestEveryByteOfABundleCounts(t *testing.T) {
	s := newStory(t)
	bundle, pinned := s.export(), trust(t, s)
	decoded, err := DecodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	try := func(i int, x byte) {
		bad := bytes.Clone(bundle)
		bad[i] ^= x
		if Verify(bad, pinned).OK {
			t.Fatalf("byte %d may be changed from %q to %q", i, bundle[i], bad[i])
		}
	}
	start := 0
	for range decoded.Parts {
		open := bytes.Index(bundle[start:], []byte(`{"data":"`)) + start + len(`{"data":"`)
		end := open + bytes.IndexByte(bundle[open:], '"')
		for i := start; i < open; i++ {
			try(i, 1<<(i%8))
		}
		for _, i := range positions(end-open, 16) {
			try(open+i, 1<<(i%8))
		}
		start = end
	}
	for i := start; i < len(bundle); i++ {
		try(i, 1<<(i%8))
	}
	for _, n := range positions(len(bundle), 50) {
		if Verify(bundle[:n], pinned).OK || Verify(append(bytes.Clone(bundle[:n]), append([]byte(" "), bundle[n:]...)...), pinned).OK {
			t.Fatalf("cut at %d, or white space inserted there, is accepted", n)
		}
	}
}

// TestEveryByteOfAPartCounts changes bytes of parts and writes their digests anew: without the domain's key the
// manifest refuses, and with it whatever the part proves does. Only the container of a time-stamp has bytes of no
// meaning (an unsigned one of CMS), which the domain, who chose the time-stamp, may choose.
func TestEveryByteOfAPartCounts(t *testing.T) {
	s := newStory(t)
	bundle, pinned := s.export(), trust(t, s)
	decoded, err := DecodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range decoded.Parts {
		for _, at := range positions(len(p.Data), 12) {
			bad := *decoded
			bad.Parts = slices.Clone(decoded.Parts)
			bad.Parts[i].Data = bytes.Clone(p.Data)
			bad.Parts[i].Data[at] ^= 1 << (at % 8)
			if Verify(bad.append(nil), pinned).OK {
				t.Fatalf("byte %d of %s may be changed under the old manifest", at, p.Name)
			}
			if p.Type == PartTimestamp {
				continue
			}
			resigned, err := EncodeBundle(bad.Domain, bad.Parts, s.key)
			if err != nil {
				t.Fatal(err)
			}
			if Verify(resigned, pinned).OK {
				t.Fatalf("byte %d of %s may be changed under a new manifest", at, p.Name)
			}
		}
	}
}

// TestPartsMoved removes, repeats, renames, reorders and exchanges parts under the honest manifest.
func TestPartsMoved(t *testing.T) {
	s := newStory(t)
	bundle, pinned := s.export(), trust(t, s)
	decoded, err := DecodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for i := range decoded.Parts {
		next := (i + 1) % len(decoded.Parts)
		for name, change := range map[string]func(parts []Part) []Part{
			"removed":  func(p []Part) []Part { return slices.Delete(p, i, i+1) },
			"repeated": func(p []Part) []Part { return slices.Insert(p, i, p[i]) },
			"swapped":  func(p []Part) []Part { p[i], p[next] = p[next], p[i]; return p },
			"data exchanged": func(p []Part) []Part {
				p[i].Data, p[next].Data = p[next].Data, p[i].Data
				return p
			},
			"retyped": func(p []Part) []Part { p[i].Type = PartCapability; return p },
			"renamed": func(p []Part) []Part { p[i].Name = "telemetry/9999999999-9.json"; return p },
		} {
			bad := *decoded
			bad.Parts = change(slices.Clone(decoded.Parts))
			if Verify(bad.append(nil), pinned).OK {
				t.Errorf("part %s %s: accepted", decoded.Parts[i].Name, name)
			}
		}
	}
}

func TestBundleLimits(t *testing.T) {
	if _, err := DecodeBundle(make([]byte, MaxBundle+1)); err == nil {
		t.Error("a bundle beyond the size limit is read")
	}
	key := newTestKey("receipt")
	for name, parts := range map[string][]Part{
		"empty part":     {{Name: "checkpoint", Type: PartCheckpoint}},
		"large part":     {TimestampPart(9, 0, make([]byte, maxTimestamp+1))},
		"two of a name":  {CheckpointPart([]byte("a")), CheckpointPart([]byte("b"))},
		"unknown type":   {{Name: "checkpoint", Type: "x", Data: []byte("a")}},
		"name of a path": {{Name: "receipts/../../etc.dsse.json", Type: PartReceipt, Data: []byte("a")}},
		"too many":       make([]Part, MaxParts+1),
	} {
		if _, err := EncodeBundle("dev", parts, key); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}
