package node

import (
	"context"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/receipt"
)

// A node widens a range by time to the proofs of time around it, so that an auditor sees that all that was written then is
// in it. The clocks of this test are real, so the times lie before and after everything.
func TestBundleByTimeBetweenAnchors(t *testing.T) {
	data := t.TempDir()
	began := time.Now().UTC()
	c := gridConfig(data)
	url, roots := authority(t)
	c.Anchors.RFC3161 = []AuthorityConfig{{Name: "one", URL: url, Roots: roots}}
	n := running(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, data, DevOperator)
	bundle := func(from, until time.Time) []byte {
		t.Helper()
		b, err := op.BundleOf(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Ranges: []receipt.Range{{From: from, Until: until}}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bundle(began, began.Add(time.Hour)) // has the log stamped
	trust := pinned(t, data)
	judge := func(b []byte) receipt.Report {
		t.Helper()
		r := receipt.Demand{Now: time.Now()}.Verify(b, trust)
		if !r.OK || len(r.Complete) == 0 {
			t.Fatalf("%d complete, %+v", len(r.Complete), r.Failed())
		}
		return r
	}
	before := judge(bundle(began.Add(-2*time.Hour), began.Add(-3*time.Minute))).Complete[0]
	if before.From.IsZero() || before.Until.IsZero() {
		t.Errorf("before the domain began: %+v", before)
	}
	scope := func(b []byte) receipt.Range {
		t.Helper()
		x, err := receipt.DecodeBundle(b)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := x.Find("scope")
		s, err := receipt.OpenScope(p.Data)
		if err != nil || len(s.Ranges) == 0 {
			t.Fatal(err, s)
		}
		return s.Ranges[0]
	}
	known := n.log.Checkpoint()
	b, err := op.BundleOf(ctx, httpapi.BundleQuery{Head: known.Size, Scope: receipt.Scope{Ranges: []receipt.Range{{From: began.Add(10 * time.Minute), Until: began.Add(time.Hour)}}}})
	if err != nil {
		t.Fatal(err)
	}
	r := receipt.Demand{Complete: true, Size: known.Size, Root: known.Root, Now: time.Now()}.Verify(b, trust)
	if !r.OK || r.Complete[0].From.IsZero() || !r.Complete[0].Until.IsZero() {
		t.Errorf("after everything: %+v %+v", r.Complete, r.Failed())
	}
	if s := scope(b); s.First == 0 || s.First >= vaultmesh.LogIndex(known.Size) {
		t.Errorf("it begins at %d, and a stamp covers all before the last receipts", s.First)
	}
}
