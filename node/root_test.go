package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/receipt"
)

// A node for whose keys nobody vouches does not start, and a start that is refused signs and logs nothing: else each would
// leave receipts that nobody who pinned the root can verify.
func TestRefusedStartLogsNothing(t *testing.T) {
	c := rootConfig(t, keyConfig(t.TempDir()))
	attempt := func(c Config, later time.Duration) error {
		n := &Node{cfg: c, actor: "node:test", now: func() time.Time { return time.Now().Add(later) }, l: quiet(), fail: make(chan error, 1)}
		defer func() { _ = n.Close() }()
		n.cfg.Log.Tiles = filepath.Join(c.Data, "log")
		if err := n.openKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.openTruth(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n.genesis(t.Context(), nil)
	}
	size := func() (s uint64) {
		look(t, c, func(n *Node) { s = n.log.Checkpoint().Size })
		return s
	}
	visit(t, c, nil)
	away := c
	away.Keys.Root.Key += ".away"
	before := size()
	for range 3 {
		if err := attempt(away, c.Keys.Validity+time.Hour); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
			t.Errorf("a start after the delegation has ended: %v", err)
		}
	}
	if after := size(); after != before {
		t.Errorf("three starts that were refused made the log grow from %d to %d", before, after)
	}
	if err := attempt(c, c.Keys.Validity+time.Hour); err != nil { // the root is back
		t.Error(err)
	}
	// Every receipt of the key counts for whoever pinned the root, those of the time after the gap too.
	look(t, c, func(n *Node) {
		trust := pinned(t, c.Data)
		h, err := receipt.FollowKeys(c.Domain, []receipt.Key{{Purpose: receipt.PurposeReceipt, Public: trust.ReceiptKeys[0].Public}}, n.root.roots(), keyChain(t, n))
		if err != nil {
			t.Fatal(err)
		}
		for i := range vaultmesh.LogIndex(n.log.Checkpoint().Size) {
			r := logged(t, n, i)
			if _, err := h.ReceiptKey(r.KeyID, i, r.Time); r.Signed() && err != nil {
				t.Errorf("receipt %d, %s: %v", i, r.Kind, err)
			}
		}
	})
}

// A domain begins with keys for which the root vouches already, in one commit.
func TestFirstKeysAreVouchedFor(t *testing.T) {
	c := rootConfig(t, keyConfig(t.TempDir()))
	visit(t, c, nil)
	look(t, c, func(n *Node) {
		var kinds []string
		for i := range vaultmesh.LogIndex(5) {
			kinds = append(kinds, logged(t, n, i).Kind)
		}
		if want := []string{receipt.DomainGenesis, receipt.KeyDelegated, receipt.KeyDelegated, receipt.KeyDelegated, receipt.CharterAdopted}; !slices.Equal(kinds, want) {
			t.Errorf("%v, want %v", kinds, want)
		}
	})
}

func logged(t *testing.T, n *Node, i vaultmesh.LogIndex) receipt.Receipt {
	t.Helper()
	raw, err := n.log.Receipt(i)
	if err != nil {
		t.Fatal(err)
	}
	r, err := receipt.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// However often the root renewed, a bundle has only the renewals that vouch for what is in it.
func TestBundleHasTheRenewalsItNeeds(t *testing.T) {
	c := rootConfig(t, keyConfig(t.TempDir()))
	n := running(t, c)
	trust := pinned(t, c.Data)
	renew := func() {
		t.Helper()
		var due []receipt.Key
		for _, purpose := range purposes {
			k, _ := n.delegation(n.log.Keys(), purpose)
			due = append(due, k)
		}
		if _, err := n.delegate(t.Context(), due, n.now().UTC().Truncate(time.Microsecond)); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		renew()
	}
	subject := receipt.NodeSubject("node:after")
	body, err := receipt.Body(receipt.NodeBody{Node: "node:after", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	var index vaultmesh.LogIndex
	err = n.journal.Submit(t.Context(), journal.Commands, func(tx journal.Tx) (err error) {
		index, _, err = n.log.Append(tx, receipt.Draft{Kind: receipt.NodeStarted, Subject: subject, Actor: n.actor, Time: n.now().UTC(), Body: body})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		renew()
	}
	raw, err := evidence{n}.Bundle(t.Context(), httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{subject}}})
	if err != nil {
		t.Fatal(err)
	}
	report := receipt.Verify(raw, trust)
	if !report.OK {
		t.Error(report.Failed())
	}
	b, err := receipt.DecodeBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	var renewals []vaultmesh.LogIndex
	for _, p := range b.Parts {
		if p.Type != receipt.PartReceipt {
			continue
		}
		r, err := receipt.Open(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == receipt.KeyRenewed {
			at, ok := receiptIndex(n, r)
			if !ok {
				t.Fatal("a renewal that the log does not have")
			}
			renewals = append(renewals, at)
		}
	}
	if !slices.ContainsFunc(renewals, func(i vaultmesh.LogIndex) bool { return i < index && i+3 >= index }) || len(renewals) > 3 {
		t.Errorf("the renewals at %v of 180 are in the bundle of receipt %d", renewals, index)
	}
}

// receiptIndex finds a renewal in its subject.
func receiptIndex(n *Node, r receipt.Receipt) (vaultmesh.LogIndex, bool) {
	found, err := n.log.Subject(r.Subject, r.Seq, 1)
	return append(found, 0)[0], err == nil && len(found) == 1
}

// The first keys of a domain survive a power loss before the log names them: their names, and the folder's.
func TestKeysAreNamedDurably(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	names := map[string][]string{}
	defer durable.Watch(func(dir string) {
		entries, _ := os.ReadDir(dir)
		names[dir] = nil
		for _, e := range entries {
			names[dir] = append(names[dir], e.Name())
		}
	})()
	n := &Node{cfg: keyConfig(data), l: quiet()}
	if err := n.openKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	if got := names[filepath.Join(data, "keys")]; !slices.Equal(got, []string{"capability.key", "log.key", "receipt.key"}) {
		t.Errorf("the folder of the keys was last synced with %v", got)
	}
	if !slices.Contains(names[data], "keys") || !slices.Contains(names[filepath.Dir(data)], "data") {
		t.Errorf("the folders were synced with %v", names)
	}
}
