package node

import (
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

// The old key of a log is not retired while its witnesses know no other: nothing would be witnessed any more.
func TestRetiringAsksTheWitnesses(t *testing.T) {
	a, b := newDomain(t, "north"), newDomain(t, "south")
	b.watches(t, a)
	south := b.start(t)
	a.cfg.Witness.Timeout = a.cfg.Witness.Interval * 100
	witnessed := func() {
		t.Helper()
		visit(t, a.cfg, func(n *Node) {
			until(t, "witnessed", func() bool { h, ok := n.witness.feeder.Latest(); return ok && h.Size == n.log.Checkpoint().Size })
		})
	}
	witnessed()
	made, err := RotateKey(t.Context(), a.cfg, KeyChange{Purpose: "log"}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	witnessed() // by the old key's signature
	refused := func(words string) {
		t.Helper()
		if _, err := RetireKey(t.Context(), a.cfg, KeyRetirement{Purpose: "log"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Conflict || !strings.Contains(err.Error(), words) {
			t.Fatalf("%v", err)
		}
	}
	refused("not know") // the witness answers that it does not know the key
	if err := south.Close(); err != nil {
		t.Fatal(err)
	}
	refused("south")
	b.cfg.Witness.Serve.Logs = append(b.cfg.Witness.Serve.Logs, made.LogKey)
	south = b.start(t)
	defer func() { _ = south.Close() }()
	if retired, err := RetireKey(t.Context(), a.cfg, KeyRetirement{Purpose: "log"}, quiet()); err != nil || len(retired) != 1 {
		t.Fatalf("%+v %v", retired, err)
	}
	witnessed()
	// By force, whatever the witnesses know.
	if _, err = RotateKey(t.Context(), a.cfg, KeyChange{Purpose: "log"}, quiet()); err != nil {
		t.Fatal(err)
	}
	refused("not know")
	if retired, err := RetireKey(t.Context(), a.cfg, KeyRetirement{Purpose: "log", Force: true}, quiet()); err != nil || len(retired) != 1 {
		t.Fatalf("%+v %v", retired, err)
	}
}
