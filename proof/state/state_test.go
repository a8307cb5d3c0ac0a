package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

// tree is the definition of the tree, written down as plainly as possible.
func tree(leaves []Leaf, depth int) vaultmesh.Digest {
	switch len(leaves) {
	case 0:
		return sha256.Sum256([]byte("\x02vaultmesh.org/state/v1"))
	case 1:
		return sha256.Sum256(slices.Concat([]byte("\x00vaultmesh.org/state/v1"), leaves[0].Path[:], leaves[0].Value[:]))
	}
	var side [2][]Leaf
	for _, l := range leaves {
		b := l.Path[depth/8] >> (7 - depth%8) & 1
		side[b] = append(side[b], l)
	}
	left, right := tree(side[0], depth+1), tree(side[1], depth+1)
	return sha256.Sum256(slices.Concat([]byte("\x01vaultmesh.org/state/v1"), left[:], right[:]))
}

// prove makes the proof of a key by the definition.
func prove(docs map[string][]byte, key string) *Proof {
	p := &Proof{Key: key, Receipt: 7}
	leaves := leavesOf(docs)
	path := Path(key)
	for depth := 0; len(leaves) > 1; depth++ {
		var side [2][]Leaf
		for _, l := range leaves {
			b := Bit(&l.Path, depth)
			side[b] = append(side[b], l)
		}
		mine := Bit(&path, depth)
		p.Siblings = append(p.Siblings, tree(side[1-mine], depth+1))
		leaves = side[mine]
	}
	if len(leaves) == 1 {
		if leaves[0].Path == path {
			p.Document, p.Value = docs[key], leaves[0].Value
		} else {
			p.Other = &leaves[0]
		}
	}
	return p
}

func leavesOf(docs map[string][]byte) []Leaf {
	var out []Leaf
	for k, d := range docs {
		out = append(out, Leaf{Path(k), vaultmesh.Sum(d)})
	}
	return out
}

func documents(n int) map[string][]byte {
	docs := map[string][]byte{}
	for i := range n {
		docs[fmt.Sprintf("twin/t-%d", i)] = Subject{Count: uint64(i) + 1, Leaf: vaultmesh.Sum([]byte{byte(i)})}.Append(nil)
	}
	return docs
}

func TestPresenceAndAbsence(t *testing.T) {
	for n := range 40 {
		docs := documents(n)
		root := tree(leavesOf(docs), 0)
		others := 0
		for i := range n + 40 {
			key := fmt.Sprintf("twin/t-%d", i)
			p := prove(docs, key)
			doc, present, err := Verify(root, key, p)
			if err != nil || present != (i < n) || !bytes.Equal(doc, docs[key]) {
				t.Fatalf("%d keys, %s: %v %v %s", n, key, present, err, doc)
			}
			if p.Other != nil {
				others++
			}
			again, err := Open(p.Encode())
			if err != nil || string(again.Encode()) != string(p.Encode()) {
				t.Fatalf("%s: %v\n%s", key, err, p.Encode())
			}
			if present {
				p.Document = nil // a proof of the digest alone
				if doc, present, err := Verify(root, key, p); err != nil || !present || doc != nil {
					t.Fatalf("%s: %v %v %s", key, present, err, doc)
				}
			}
		}
		if n > 0 && others == 0 {
			t.Errorf("%d keys: no absence was proved by another leaf", n)
		}
	}
}

// A proof of one thing never serves for another: not for another key, another root, the opposite claim.
func TestProofBinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		docs := documents(n)
		root := tree(leavesOf(docs), 0)
		key := fmt.Sprintf("twin/t-%d", rapid.IntRange(0, 2*n).Draw(t, "key"))
		p := prove(docs, key)
		must := func(what string, q Proof) {
			if _, _, err := Verify(root, key, &q); err == nil {
				t.Fatalf("%s: accepted\n%s", what, q.Encode())
			}
		}
		q := *p
		q.Siblings = append(slices.Clone(p.Siblings), Empty())
		must("one more level", q)
		if len(p.Siblings) > 0 {
			q = *p
			i := rapid.IntRange(0, len(p.Siblings)-1).Draw(t, "sibling")
			q.Siblings = slices.Clone(p.Siblings)
			q.Siblings[i][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			must("another sibling", q)
			q = *p
			q.Siblings = p.Siblings[:len(p.Siblings)-1]
			must("one level less", q)
		}
		if p.Present() {
			q = *p
			q.Document, q.Value = nil, vaultmesh.Digest{}
			must("absent by nothing", q)
			for other := range docs {
				if other != key {
					l := Leaf{Path(other), vaultmesh.Sum(docs[other])}
					q.Other = &l
					must("absent by another leaf", q)
				}
			}
			q = *p
			q.Document = append(slices.Clone(p.Document), ' ')
			must("another document", q)
			q.Value = vaultmesh.Sum(q.Document)
			must("another document and digest", q)
		} else {
			q = *p
			q.Other, q.Document = nil, []byte(`{}`)
			q.Value = vaultmesh.Sum(q.Document)
			must("present", q)
			if p.Other != nil {
				q = *p
				q.Other, q.Value = nil, p.Other.Value
				must("present with the other's document", q)
				q.Other, q.Value = nil, vaultmesh.Digest{}
				must("absent by nothing", q)
			}
		}
	})
}

// In a tree that was built wrongly on purpose a key still has one answer at most: a leaf out of its place proves nothing.
func TestMisplacedLeaf(t *testing.T) {
	key := "twin/a"
	path, doc := Path(key), []byte("{}")
	leaf := Leaf{path, vaultmesh.Sum(doc)}
	wrong := [2]vaultmesh.Digest{Empty(), Empty()}
	wrong[1-Bit(&path, 0)] = leaf.Hash()
	root := HashInner(wrong[0], wrong[1])
	for name, p := range map[string]*Proof{
		"present":          {Key: key, Document: doc, Value: leaf.Value, Siblings: []vaultmesh.Digest{Empty()}},
		"present, swapped": {Key: key, Document: doc, Value: leaf.Value, Siblings: []vaultmesh.Digest{leaf.Hash()}},
		"absent by itself": {Key: key, Other: &leaf, Siblings: []vaultmesh.Digest{Empty()}},
	} {
		if _, _, err := Verify(root, key, p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// The place where the key belongs is empty: it is absent, and that is the only thing that can be proved.
	if _, present, err := Verify(root, key, &Proof{Key: key, Siblings: []vaultmesh.Digest{leaf.Hash()}}); err != nil || present {
		t.Errorf("absent: %v %v", present, err)
	}
	// An inner node passed off as a document's leaf, and the other way around.
	inner := HashInner(Empty(), leaf.Hash())
	if HashLeaf(Empty(), leaf.Hash()) == inner || Empty() == inner {
		t.Error("the hashes are not separated")
	}
}

func TestEveryByteOfAProof(t *testing.T) {
	docs := documents(30)
	root := tree(leavesOf(docs), 0)
	for _, key := range []string{"twin/t-3", "twin/t-31", "twin/t-35"} {
		text := prove(docs, key).Encode()
		// Which receipt holds the root is not proved by the proof itself.
		at := bytes.Index(text, []byte(`"receipt":"`)) + len(`"receipt":"`)
		for i := range text {
			for _, x := range []byte{1, 0x20, 0x80} {
				if i == at {
					continue
				}
				bad := slices.Clone(text)
				bad[i] ^= x
				p, err := Open(bad)
				if err == nil {
					_, _, err = Verify(root, key, &p)
				}
				if err == nil {
					t.Fatalf("%s: byte %d changed from %q to %q was accepted", key, i, text[i], bad[i])
				}
			}
		}
		if _, err := Open(append(slices.Clone(text), ' ')); err == nil {
			t.Error("a space after the end was accepted")
		}
	}
}

func TestProofBounds(t *testing.T) {
	for name, p := range map[string]Proof{
		"depth":           {Key: "twin/a", Siblings: make([]vaultmesh.Digest, MaxDepth+1)},
		"key":             {Key: "twin/" + strings.Repeat("a", 600)},
		"class":           {Key: "tween/a"},
		"twin":            {Key: "twin/a b"},
		"subject":         {Key: "subject/"},
		"both":            {Key: "twin/a", Value: vaultmesh.Sum(nil), Other: &Leaf{}},
		"lone document":   {Key: "twin/a", Document: []byte("{}")},
		"wrong document":  {Key: "twin/a", Document: []byte("{}"), Value: vaultmesh.Sum(nil)},
		"absent by self":  {Key: "twin/a", Other: &Leaf{Path: Path("twin/a")}},
		"not UTF-8":       {Key: "subject/\xff"},
		"other elsewhere": {Key: "twin/a", Other: &Leaf{Path: flip(Path("twin/a"), 0)}, Siblings: []vaultmesh.Digest{Empty()}},
	} {
		if _, err := p.Root(); vaultmesh.KindOf(err) != vaultmesh.Invalid && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Open(p.Encode()); err == nil && name != "not UTF-8" { // which no text can say
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := Open(make([]byte, MaxProof+1)); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("too large: %v", err)
	}
	if _, _, err := Verify(Empty(), "twin/b", &Proof{Key: "twin/a"}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("another key: %v", err)
	}
	// The deepest branch: two keys whose paths part at the last bit.
	p := Proof{Key: "twin/a", Value: vaultmesh.Sum(nil), Siblings: make([]vaultmesh.Digest, MaxDepth)}
	for i := range p.Siblings {
		p.Siblings[i] = Empty()
	}
	p.Siblings[MaxDepth-1] = vaultmesh.Sum([]byte("x"))
	root, err := p.Root()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Open(p.Encode()); err != nil {
		t.Error(err)
	} else if _, present, err := Verify(root, "twin/a", &again); err != nil || !present {
		t.Errorf("%v %v", present, err)
	}
}

func flip(d vaultmesh.Digest, bit int) vaultmesh.Digest {
	d[bit/8] ^= 1 << (7 - bit%8)
	return d
}

func testTwin() Twin {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)
	return Twin{
		ID: "line-9-10", Model: "dtmi:org:vaultmesh:Line;1", Device: "sub-9", Version: 17, Seen: at,
		Nameplate:     map[string]json.RawMessage{"rating": json.RawMessage(" 12.50 ")},
		Relationships: []Relationship{{"from", "bus-9"}, {"to", "bus-10"}},
		Reported:      map[string]Value{"closed": {json.RawMessage("true"), "good", at}, "label": {json.RawMessage(`"<&é>"`), "questionable", at}},
		Telemetry:     map[string]Value{"p": {json.RawMessage("9007199254740993.00"), "invalid", at}},
		Desired:       map[string]json.RawMessage{"closed": json.RawMessage("false")},
	}
}

func TestTwinDocument(t *testing.T) {
	tw := testTwin()
	doc := tw.Append(nil)
	const want = `{"desired":{"closed":false},"device":"sub-9","model":"dtmi:org:vaultmesh:Line;1","nameplate":{"rating":12.50},` +
		`"relationships":[{"name":"from","target":"bus-9"},{"name":"to","target":"bus-10"}],` +
		`"reported":{"closed":{"q":"good","t":"2026-01-02T03:04:05.000678Z","v":true},"label":{"q":"questionable","t":"2026-01-02T03:04:05.000678Z","v":"<&é>"}},` +
		`"seen":"2026-01-02T03:04:05.000678Z","telemetry":{"p":{"q":"invalid","t":"2026-01-02T03:04:05.000678Z","v":9007199254740993.00}},` +
		`"twin":"line-9-10","version":"17"}`
	if string(doc) != want {
		t.Fatalf("got  %s\nwant %s", doc, want)
	}
	if !json.Valid(doc) {
		t.Error("not JSON")
	}
	got, err := OpenTwin(doc)
	if err != nil {
		t.Fatal(err)
	}
	if h := got.Property("closed"); len(h) != 2 || h[0].Kind != "reported" || string(h[0].Value.JSON) != "true" || h[1].Kind != "desired" {
		t.Errorf("closed: %+v", h)
	}
	if h := got.Property("p"); len(h) != 1 || string(h[0].Value.JSON) != "9007199254740993.00" || h[0].Value.Quality != "invalid" {
		t.Errorf("p: %+v", h)
	}
	if h := got.Property("rating"); len(h) != 1 || h[0].Kind != "nameplate" {
		t.Errorf("rating: %+v", h)
	}
	if h := got.Property("x"); h != nil {
		t.Errorf("x: %+v", h)
	}
	bare, err := OpenTwin([]byte(`{"twin":"a","version":"0"}`))
	if err != nil || bare.ID != "a" {
		t.Errorf("%+v %v", bare, err)
	}
	for _, bad := range []string{
		``, `{}`, `{"twin":"a"}`, `{"version":"0","twin":"a"}`, `{"twin":"a","version":0}`, `{"twin":"a","version":"00"}`, `{"twin":"a","version":"0"} `,
		`{"twin":"a b","version":"0"}`, `{"Twin":"a","version":"0"}`, `{"twin":"a","version":"0","x":1}`, `{"seen":"2026-01-02","twin":"a","version":"0"}`,
		`{"reported":{},"twin":"a","version":"0"}`, `{"reported":{"x":{"q":"fine","t":"2026-01-02T03:04:05.000678Z","v":1}},"twin":"a","version":"0"}`,
		`{"reported":{"b":{"q":"good","t":"2026-01-02T03:04:05.000678Z","v":1},"a":{"q":"good","t":"2026-01-02T03:04:05.000678Z","v":1}},"twin":"a","version":"0"}`,
		`{"desired":{"a":1,"a":2},"twin":"a","version":"0"}`,
	} {
		if _, err := OpenTwin([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestSubjectDocument(t *testing.T) {
	s := Subject{Count: 1, Index: 1 << 60, Leaf: vaultmesh.Sum(nil)}
	got, err := OpenSubject(s.Append(nil))
	if err != nil || got != s {
		t.Fatalf("%+v %v", got, err)
	}
	for _, bad := range []string{``, `{}`, `{"count":"1","index":"2"}`, `{"index":"2","count":"1","leaf":""}`, `{"count":"01","index":"2","leaf":""}`, strings.Repeat(" ", 300)} {
		if _, err := OpenSubject([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestTextIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var back string
		if err := json.Unmarshal(appendText(nil, s), &back); err != nil || back != s {
			t.Fatalf("%q became %q: %v", s, back, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	docs := documents(9)
	for i := range 12 {
		f.Add(prove(docs, fmt.Sprintf("twin/t-%d", i)).Encode())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Open(text)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), text) {
			t.Fatal("two texts of one proof")
		}
		root, err := p.Root()
		if err != nil {
			t.Fatal(err)
		}
		if _, present, err := Verify(root, p.Key, &p); err != nil || present != p.Present() {
			t.Fatal(present, err)
		}
	})
}

func FuzzOpenTwin(f *testing.F) {
	tw := testTwin()
	f.Add(tw.Append(nil))
	f.Add([]byte(`{"twin":"a","version":"0"}`))
	f.Add(Subject{Count: 3}.Append(nil))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if tw, err := OpenTwin(doc); err == nil && !bytes.Equal(tw.Append(nil), doc) {
			t.Fatal("two documents of one twin")
		}
		if s, err := OpenSubject(doc); err == nil && !bytes.Equal(s.Append(nil), doc) {
			t.Fatal("two documents of one subject")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	docs := documents(4096)
	root, r := tree(leavesOf(docs), 0), rand.New(rand.NewPCG(1, 1))
	key := fmt.Sprintf("twin/t-%d", r.IntN(4096))
	text := prove(docs, key).Encode()
	b.ReportMetric(float64(len(text)), "bytes")
	for b.Loop() {
		p, err := Open(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := Verify(root, key, &p); err != nil {
			b.Fatal(err)
		}
	}
}

// The tree holds no heads of commands and telemetry, so no proof may be about one: it could only ever claim absence.
func TestSubjectsThatAreNotInTheTree(t *testing.T) {
	for subject, in := range map[string]bool{"command/1": false, "telemetry/dev": false, "halt/dev": true, "commander/1": true, "telemetry": true} {
		key := SubjectKey(subject)
		if InStateTree(subject) != in || (CheckKey(key) == nil) != in {
			t.Errorf("%s: %v %v", subject, InStateTree(subject), CheckKey(key))
		}
		p := Proof{Key: key}
		if _, err := p.Root(); (err == nil) != in {
			t.Errorf("absence of %s: %v", subject, err)
		}
		if _, _, err := Verify(Empty(), key, &p); (err == nil) != in {
			t.Errorf("absence of %s: %v", subject, err)
		}
	}
}
