package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
	testpeers "vaultmesh.org/vaultmesh/test/peers"
)

// until waits for a condition that the node's own loops bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not come to: %s", what)
		case <-tick.C:
		}
	}
}

// domain is a node that may witness another and be witnessed.
type domain struct {
	cfg Config
	url string // of its witness
}

func newDomain(t *testing.T, name string) *domain {
	t.Helper()
	c := keyConfig(t.TempDir())
	c.Domain = vaultmesh.Domain(name)
	c.HTTP.Listen = fmt.Sprintf("127.0.0.1:%d", testpeers.Port(t))
	c.Witness.Interval, c.Log.Interval = 20*time.Millisecond, 10*time.Millisecond
	c.State.Interval = 0 // no receipts but those of the test
	return &domain{c, "https://" + c.HTTP.Listen + "/witness"}
}

// watches makes d a witness of other.
func (d *domain) watches(t *testing.T, other *domain) {
	t.Helper()
	visit(t, other.cfg, nil) // it has keys
	d.cfg.Witness.Serve.Logs = []string{pinned(t, other.cfg.Data).Log.Key}
	visit(t, d.cfg, func(n *Node) {
		path := filepath.Join(other.cfg.Data, "policy")
		if err := os.WriteFile(path, fmt.Appendf(nil, "witness %s %s %s\nquorum %s\n", d.cfg.Domain, n.witness.key, d.url, d.cfg.Domain), 0o600); err != nil {
			t.Fatal(err)
		}
		other.cfg.Witness.Policy, other.cfg.Witness.CA = path, filepath.Join(d.cfg.Data, "pki", "ca.crt")
	})
}

func (d *domain) start(t *testing.T) *Node { t.Helper(); return start(t, d.cfg) }

// Two domains witness each other: what each publishes carries the other's cosignature.
func TestDomainsWitnessEachOther(t *testing.T) {
	a, b := newDomain(t, "north"), newDomain(t, "south")
	a.watches(t, b)
	b.watches(t, a)
	na, nb := a.start(t), b.start(t)
	defer func() {
		for _, n := range []*Node{na, nb} {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, n := range []*Node{na, nb} {
		until(t, "a witnessed checkpoint", func() bool {
			h, ok := n.witness.feeder.Latest()
			return ok && h.Size == n.log.Checkpoint().Size
		})
		want, _ := n.witness.feeder.Latest()
		until(t, "it is published", func() bool {
			b, err := os.ReadFile(filepath.Join(n.cfg.Log.Tiles, "checkpoint"))
			return err == nil && string(b) == string(want.Note)
		})
		kept, ok, err := n.log.LatestCosigned()
		if err != nil || !ok || string(kept.Note) != string(want.Note) {
			t.Fatalf("kept %v %v", ok, err)
		}
		status, err := clientOf(t, n.cfg.Data, DevOperator).Witnesses(t.Context())
		if err != nil || status.Alarm || len(status.Peers) != 1 || status.Size != want.Size {
			t.Fatalf("%+v %v", status, err)
		}
	}
	text, err := os.ReadFile(a.cfg.Witness.Policy)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseWitnessPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := na.witness.feeder.Latest(); !policy.Satisfied(h.Note) {
		t.Fatal("the policy is not satisfied")
	}
	// A bundle of what has just happened is witnessed, and whoever asks for another witness refuses it.
	var q httpapi.BundleQuery
	q.Subjects = []string{receipt.DomainSubject(a.cfg.Domain)}
	bundle, err := evidence{na}.Bundle(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	trust := pinned(t, a.cfg.Data)
	if trust.WitnessPolicy != string(text) {
		t.Fatal("the trust file does not ask for the witness")
	}
	if r := receipt.Verify(bundle, trust); !r.OK {
		t.Fatalf("%+v", r)
	}
	theirs, err := os.ReadFile(b.cfg.Witness.Policy)
	if err != nil {
		t.Fatal(err)
	}
	trust.WitnessPolicy = string(theirs)
	if r := receipt.Verify(bundle, trust); r.OK {
		t.Fatal("a bundle passes without the witness that is asked for")
	}
}

// A domain that is put back to an earlier state, or goes on from it differently, is caught by its witness: alarm, receipt,
// and both notes on the disk.
func TestRolledBackDomain(t *testing.T) {
	for _, found := range []string{"rollback", "equivocation"} {
		t.Run(found, func(t *testing.T) {
			a, b := newDomain(t, "north"), newDomain(t, "south")
			b.watches(t, a)
			south := b.start(t)
			defer func() { _ = south.Close() }()
			// A backup, then more of the log that the witness sees.
			backup := filepath.Join(t.TempDir(), "backup")
			if err := os.CopyFS(backup, os.DirFS(a.cfg.Data)); err != nil {
				t.Fatal(err)
			}
			starts := map[string]int{"rollback": 4, "equivocation": 1}[found]
			for range starts {
				n := a.start(t)
				until(t, "witnessed", func() bool { h, _ := n.witness.feeder.Latest(); return h.Size == n.log.Checkpoint().Size })
				if err := n.Close(); err != nil {
					t.Fatal(err)
				}
			}
			// The backup lacks what was published: only a log that also lost its tiles would start.
			if err := os.RemoveAll(filepath.Join(backup, "log")); err != nil {
				t.Fatal(err)
			}
			if err := filepath.WalkDir(backup, func(path string, d os.DirEntry, err error) error { // copies are readable by others
				if err == nil && !d.IsDir() && filepath.Ext(path) != ".crt" {
					return os.Chmod(path, 0o600)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			a.cfg.Data = backup
			n := a.start(t)
			defer func() { _ = n.Close() }()
			until(t, "a conflict", func() bool { return n.witness.feeder.Status().Conflict != "" })
			s, err := clientOf(t, backup, DevOperator).Witnesses(t.Context())
			if err != nil || !s.Alarm || s.Conflict != found {
				t.Fatalf("%+v %v", s, err)
			}
			alarms, err := clientOf(t, backup, DevOperator).Alarms(t.Context())
			want := map[string]string{"rollback": httpapi.AlarmRolledBack, "equivocation": httpapi.AlarmConflict}[found]
			if err != nil || len(alarms) == 0 || alarms[0].Code != want || alarms[0].Subject == "" || alarms[0].Fix == "" {
				t.Fatalf("%+v %v", alarms, err)
			}
			var indexes []vaultmesh.LogIndex
			until(t, "a receipt", func() bool {
				indexes, err = n.log.Subject(receipt.WitnessSubject("north"), 0, 10)
				return err == nil && len(indexes) > 0
			})
			raw, err := n.log.Receipt(indexes[0])
			if err != nil {
				t.Fatal(err)
			}
			r, err := receipt.Open(raw)
			if err != nil {
				t.Fatal(err)
			}
			body, err := receipt.ReadBody[receipt.ConflictBody](&r)
			if err != nil || r.Kind != receipt.WitnessConflict || body.Found != found || !body.Proved || body.Witness != "vaultmesh.org/witness/south" {
				t.Fatalf("%+v %v", body, err)
			}
			kept, err := witness.Conflicts(filepath.Join(backup, "witness-alarms"))
			if err != nil || len(kept) == 0 {
				t.Fatalf("%d kept, %v", len(kept), err)
			}
			if vaultmesh.Sum([]byte(kept[0].Held)) != body.Theirs || vaultmesh.Sum([]byte(kept[0].Offered)) != body.Ours {
				t.Fatal("the notes are not those of the receipt")
			}
			v, err := note.NewVerifier(pinned(t, backup).Log.Key)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := witness.Conflicts(filepath.Join(b.cfg.Data, "witness"))
			if err != nil {
				t.Fatal(err)
			}
			if found == "equivocation" {
				if len(proof) == 0 {
					t.Fatal("the witness keeps no proof")
				}
				if err := proof[0].Check(v); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A node whose witness's folder is gone while its key stays does not begin anew: it could cosign another tree.
func TestWitnessFolderLost(t *testing.T) {
	a, b := newDomain(t, "north"), newDomain(t, "south")
	b.watches(t, a)
	south, north := b.start(t), a.start(t)
	until(t, "witnessed", func() bool {
		h, ok := north.witness.feeder.Latest()
		return ok && h.Size == north.log.Checkpoint().Size
	})
	for _, n := range []*Node{north, south} {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	folder, record := filepath.Join(b.cfg.Data, "witness"), filepath.Join(b.cfg.Data, "keys", "witness.key.record")
	refused := func(what string) {
		t.Helper()
		n, err := Start(t.Context(), b.cfg, quiet())
		if err == nil {
			t.Errorf("%s: it starts", what)
			_ = n.Close()
		} else if vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	refused("without its folder")
	b.cfg.Witness.Serve.Recover = true
	visit(t, b.cfg, nil)
	b.cfg.Witness.Serve.Recover = false
	visit(t, b.cfg, nil)
	for _, dir := range []string{folder, record} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	refused("with its key alone")
	if err := os.Remove(filepath.Join(b.cfg.Data, "keys", "witness.key")); err != nil { // the deliberate way: another key
		t.Fatal(err)
	}
	visit(t, b.cfg, nil)
}
