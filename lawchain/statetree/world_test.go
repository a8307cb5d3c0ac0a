package statetree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const model = `[{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Line;1","@type":"Interface","contents":[
  {"@type":"Property","name":"rating","schema":"double"},
  {"@type":"Property","name":"closed","schema":"boolean"},
  {"@type":"Property","name":"tap","schema":"double","writable":true},
  {"@type":"Telemetry","name":"flow","schema":"double"},
  {"@type":"Telemetry","name":"loading","schema":"double"}]}]`

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a small domain on a real journal.
type world struct {
	t     testing.TB
	dir   string
	j     *journal.Journal
	l     *lawchain.Log
	twins *twin.Store
	tree  *Tree

	mu   sync.Mutex
	now  time.Time // guarded by mu
	fail func(point string)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func open(t testing.TB, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, now: start}
	log := logs.Open(t, dir, logs.Failpoint(func(p string) {
		if w.fail != nil {
			w.fail(p)
		}
	}), func(o *lawchain.Options, _ *journal.Options) {
		o.Unsigned = func(kind string) bool { return kind != receipt.StateRoot }
	})
	w.j, w.l = log.J, log.Log
	set, err := dtdl.Parse([]dtdl.Document{{Name: "model.json", Data: []byte(model)}}, dtdl.Options{})
	must(t, err)
	w.twins = twin.NewStore(twin.Options{Models: set, Now: w.clock})
	must(t, w.twins.Load(w.j))
	w.tree, err = Open(Options{Domain: "test", Actor: "node:n1", Journal: w.j, Log: w.l, Twins: w.twins, Window: time.Hour, Now: w.clock})
	must(t, err)
	return w
}

func (w *world) close() { must(w.t, w.j.Close()) }

func (w *world) submit(op journal.Op) {
	w.t.Helper()
	must(w.t, w.j.Submit(context.Background(), journal.Commands, op))
}

func lineID(i int) vaultmesh.TwinID { return vaultmesh.TwinID(fmt.Sprintf("line-%d", i)) }

// define makes twins, each with the receipt of its definition.
func (w *world) define(from, to int) {
	w.t.Helper()
	for from < to {
		end := min(to, from+500)
		w.submit(func(tx journal.Tx) error {
			var ds []twin.Definition
			for i := from; i < end; i++ {
				ds = append(ds, twin.Definition{ID: lineID(i), Model: "dtmi:test:Line;1", Device: "sub-1", Nameplate: map[string]json.RawMessage{"rating": json.RawMessage(" 12.50 ")}})
			}
			if err := w.twins.DefineAll(tx, ds); err != nil {
				return err
			}
			for i := from; i < end; i++ {
				if err := w.note(tx, receipt.TwinDefined, receipt.TwinSubject(lineID(i))); err != nil {
					return err
				}
			}
			return nil
		})
		from = end
	}
}

func (w *world) note(tx journal.Tx, kind, subject string) error {
	_, _, err := w.l.Append(tx, receipt.Draft{Kind: kind, Subject: subject, Actor: "node:n1", Time: w.clock(), Body: []byte(`{}`)})
	return err
}

// report merges a message of a twin and appends one receipt of the subject node/<twin>, so that the number of these is
// the version of the twin.
func (w *world) report(tx journal.Tx, i, value int) error {
	now := w.clock().Add(time.Duration(value) * time.Microsecond)
	raw := fmt.Sprintf(`{"telemetry":{"flow":%d.25,"loading":1},"properties":{"closed":%v}}`, value, value%2 == 0)
	m := &twin.Message{Twin: lineID(i), Device: "sub-1", Time: now, Raw: []byte(raw),
		Properties: map[string]json.RawMessage{"closed": json.RawMessage(fmt.Sprint(value%2 == 0))},
		Telemetry:  map[string]json.RawMessage{"flow": json.RawMessage(fmt.Sprintf("%d.25", value)), "loading": json.RawMessage("1")}}
	if _, err := w.twins.Merge(tx, m, 0, 0); err != nil {
		return err
	}
	return w.note(tx, receipt.NodeStarted, "node/"+string(lineID(i)))
}

// documents are what the tree should hold now, by the public readers.
func (w *world) documents() map[string][]byte {
	w.t.Helper()
	docs := map[string][]byte{}
	w.twins.Snapshot().Each(func(t twin.Twin) bool {
		docs[state.TwinKey(t.ID)] = t.Document()
		return true
	})
	must(w.t, w.l.Stored().Heads(func(subject string, count uint64, last vaultmesh.LogIndex, leaf vaultmesh.Digest) (bool, error) {
		if state.InStateTree(subject) {
			docs[state.SubjectKey(subject)] = state.Subject{Count: count, Index: last, Leaf: leaf}.Append(nil)
		}
		return true, nil
	}))
	return docs
}

// naive is the root by the definition.
func naive(docs map[string][]byte) vaultmesh.Digest {
	var leaves []state.Leaf
	for k, d := range docs {
		leaves = append(leaves, state.Leaf{Path: state.Path(k), Value: vaultmesh.Sum(d)})
	}
	slices.SortFunc(leaves, func(a, b state.Leaf) int { return bytes.Compare(a.Path[:], b.Path[:]) })
	return naiveTree(leaves, 0)
}

func naiveTree(leaves []state.Leaf, depth int) vaultmesh.Digest {
	switch len(leaves) {
	case 0:
		return sha256.Sum256([]byte("\x02vaultmesh.org/state/v1"))
	case 1:
		return sha256.Sum256(slices.Concat([]byte("\x00vaultmesh.org/state/v1"), leaves[0].Path[:], leaves[0].Value[:]))
	}
	n := 0
	for n < len(leaves) && state.Bit(&leaves[n].Path, depth) == 0 {
		n++
	}
	left, right := naiveTree(leaves[:n], depth+1), naiveTree(leaves[n:], depth+1)
	return sha256.Sum256(slices.Concat([]byte("\x01vaultmesh.org/state/v1"), left[:], right[:]))
}

// update makes a root and compares it with the definition.
func (w *world) update() (Root, map[string][]byte) {
	w.t.Helper()
	docs := w.documents()
	changed, err := w.tree.Update(context.Background())
	must(w.t, err)
	if !changed {
		w.t.Fatal("nothing changed")
	}
	r, _ := w.tree.Newest()
	if want := naive(docs); r.Hash != want || r.Entries != uint64(len(docs)) {
		w.t.Fatalf("root %s of %d keys, want %s of %d", r.Hash, r.Entries, want, len(docs))
	}
	w.committed(r)
	return r, docs
}

// committed checks that the log commits to the root.
func (w *world) committed(root Root) {
	w.t.Helper()
	raw, err := w.l.Receipt(root.Receipt)
	must(w.t, err)
	r, err := receipt.Open(raw)
	must(w.t, err)
	body, err := receipt.ReadBody[receipt.StateBody](&r)
	must(w.t, err)
	if r.Kind != receipt.StateRoot || body != (receipt.StateBody{Root: root.Hash, Size: root.Size, Entries: root.Entries}) {
		w.t.Fatalf("receipt %d is %s %+v", root.Receipt, r.Kind, body)
	}
}

// proves asks for the proof of every key, and of some that do not exist.
func (w *world) proves(root Root, docs map[string][]byte, size uint64) {
	w.t.Helper()
	ask := []string{"twin/absent", "twin/line", "subject/halt/test", "subject/halt/none", "twin/line-1000000"}
	for k := range docs {
		ask = append(ask, k)
	}
	for _, key := range ask {
		p, of, err := w.tree.Prove(key, size)
		must(w.t, err)
		if of != root {
			w.t.Fatalf("proved by %+v, want %+v", of, root)
		}
		p, err = state.Open(p.Encode())
		must(w.t, err)
		doc, present, err := state.Verify(root.Hash, key, &p)
		must(w.t, err)
		if want, ok := docs[key]; ok != present || !bytes.Equal(doc, want) {
			w.t.Fatalf("%s: present %v\n%s\nwant\n%s", key, present, doc, want)
		}
	}
}

// stray returns the records that no root needs, and the number of those that some do.
func (w *world) stray() (stray []string, needed int) {
	w.t.Helper()
	need := map[string]bool{}
	var walk func(version uint64, p place)
	walk = func(version uint64, p place) {
		key := string(keyPage(version, p))
		if need[key] {
			return
		}
		need[key] = true
		pg, err := w.tree.page(w.j, version, p)
		must(w.t, err)
		for i := range pg {
			switch c := &pg[i]; c.kind {
			case aLeaf:
				need[string(keyDocument(c.version, &c.leaf.Path))] = true
			case aPage:
				next := place{p.depth + 1, p.path}
				if p.depth%2 == 0 {
					next.path[p.depth/2] = byte(i << 4)
				} else {
					next.path[p.depth/2] |= byte(i)
				}
				walk(c.version, next)
			}
		}
	}
	for _, r := range w.tree.roots {
		walk(r.version, place{})
	}
	for _, prefix := range [][]byte{pagePrefix, documentPrefix} {
		must(w.t, w.j.Scan(prefix, after(prefix), func(k, _ []byte) (bool, error) {
			if !need[string(k)] {
				stray = append(stray, fmt.Sprintf("%x", k))
			}
			delete(need, string(k))
			needed++
			return true, nil
		}))
	}
	if len(need) > 0 {
		w.t.Fatalf("%d records are missing", len(need))
	}
	return stray, needed
}

var errDropped = errors.New("dropped")

// live does n random things, some of which are dropped.
func (w *world) live(r *rand.Rand, twins, n int) {
	w.t.Helper()
	for i := range n {
		w.pass(time.Second)
		drop := r.IntN(5) == 0
		err := w.j.Submit(context.Background(), journal.Lane(r.IntN(2)), func(tx journal.Tx) error {
			for range 1 + r.IntN(3) {
				if err := w.report(tx, r.IntN(twins), i); err != nil {
					return err
				}
			}
			if err := w.note(tx, receipt.CommandProposed, "command/"+fmt.Sprint(i)); err != nil {
				return err
			}
			if drop {
				return errDropped
			}
			return nil
		})
		if drop != errors.Is(err, errDropped) {
			w.t.Fatal(err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
