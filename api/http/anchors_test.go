package httpapi

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

// worldAnchors is a node that anchors at one authority and in Bitcoin; its first job of each has ended.
type worldAnchors struct{ *world }

func (w worldAnchors) jobs() []anchor.Job {
	j := func(target, kind string, size uint64, s anchor.State) anchor.Job {
		return anchor.Job{ID: fmt.Sprintf("%s@%d", target, size), Target: target, Kind: kind, Size: size, Root: vaultmesh.Sum(nil), Digest: vaultmesh.Sum(nil), State: s,
			Memo: []byte(`{"secret":1}`), Created: epoch, Updated: epoch, By: "operator:operator"}
	}
	stamped, mined, sent := j("rfc3161/one", "rfc3161", 3, anchor.Final), j("bitcoin", "bitcoin", 3, anchor.Confirmed), j("bitcoin", "bitcoin", 5, anchor.Submitted)
	stamped.Proof, stamped.Proved, stamped.Source = []byte{0x30, 1}, epoch, "CN=one"
	mined.Proof, mined.Proved, mined.Height, mined.Block, mined.Fee, mined.Unit = []byte("{}"), epoch, 1<<40, "00ab", "141", "satoshi"
	sent.Detail, sent.Attempts, sent.NotBefore = "waits for a block", 2, epoch
	return []anchor.Job{sent, mined, stamped}
}

func (w worldAnchors) Request(_ context.Context, c control.Caller, q anchor.Request) ([]anchor.Job, error) {
	w.mu.Lock()
	w.lastCall = c
	w.mu.Unlock()
	if err := c.Capability.Allows(capability.Action{Verb: capability.Anchor}); err != nil {
		return nil, err
	}
	if slices.Contains(q.Targets, "moon") {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "anchor.request", "moon", "no such target").WithFix("the targets are bitcoin, rfc3161/one")
	}
	if q.Key == "again" {
		return nil, vaultmesh.Errorf(vaultmesh.RateLimited, "anchor.request", "bitcoin", "it was asked 4 times at once").WithFix("wait 30 s")
	}
	return w.jobs()[:1], nil
}

func (w worldAnchors) Job(_ context.Context, id string) (anchor.Job, error) {
	for _, j := range w.jobs() {
		if j.ID == id {
			return j, nil
		}
	}
	return anchor.Job{}, vaultmesh.Errorf(vaultmesh.NotFound, "anchor", id, "there is no such job")
}

func (w worldAnchors) Jobs(_ context.Context, f anchor.Filter) ([]anchor.Job, bool, error) {
	var out []anchor.Job
	for _, j := range w.jobs() {
		if (f.Target == "" || f.Target == j.Target) && (f.State == "" || f.State == j.State) {
			j.Memo, j.Proof = nil, nil
			out = append(out, j)
		}
	}
	return out[:min(len(out), f.Limit)], len(out) > f.Limit, nil
}

func (w worldAnchors) Coverage() ([]anchor.Coverage, error) {
	return []anchor.Coverage{{Target: "bitcoin", Kind: "bitcoin", Cadence: "1h0m0s", Size: 5, Anchored: 3, Share: 0.6, Oldest: epoch, Jobs: map[anchor.State]int{anchor.Submitted: 1, anchor.Confirmed: 1},
		Spent: "141", Today: "141", Budget: "1000", Unit: "satoshi", Error: "the node is away", Warning: "receipts wait"}}, nil
}

// A node without anchors says so; a caller who may not ask is told that first.
func TestNoAnchors(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	o.Anchors = nil
	_, url := serve(t, o)
	c := client(t, url, "operator")
	if _, err := c.AnchorNow(t.Context(), anchor.Request{}); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Error(err)
	}
	if _, err := c.Anchors(t.Context(), anchor.Filter{}); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Error(err)
	}
}

func TestAnchorClient(t *testing.T) {
	w := newWorld(t)
	_, url := serve(t, options(t, w))
	c := client(t, url, "operator")
	jobs, err := c.AnchorNow(t.Context(), anchor.Request{Targets: []string{"bitcoin"}, Key: "k"})
	if err != nil || len(jobs) != 1 || jobs[0].ID != "bitcoin@5" || jobs[0].State != anchor.Submitted || jobs[0].Memo != nil {
		t.Fatalf("%+v %v", jobs, err)
	}
	j, err := c.Anchor(t.Context(), "rfc3161/one@3")
	if err != nil || string(j.Proof) != "\x30\x01" || j.Source != "CN=one" {
		t.Fatalf("%+v %v", j, err)
	}
	page, err := c.Anchors(t.Context(), anchor.Filter{Target: "bitcoin", Limit: 1})
	if err != nil || len(page.Jobs) != 1 || !page.More || page.Targets[0].Share != 0.6 {
		t.Fatalf("%+v %v", page, err)
	}
}
