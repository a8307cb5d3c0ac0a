package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// A bundle discloses the words behind what its asker may read, and not those behind what merely supports the answer.
func TestBundlesDiscloseWhatTheAskerMayRead(t *testing.T) {
	data := t.TempDir()
	n := running(t, gridConfig(data))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const words, reason = "the agent's owner Zaphod was dismissed for theft", "the feeder of Zebulon is too warm"
	own := receipt.Opening{Text: reason}
	if _, err := rand.Read(own.Salt[:]); err != nil {
		t.Fatal(err)
	}
	cmd, err := clientOf(t, data, DevAgent).Propose(ctx, control.Proposal{Twin: "load-9", Command: "shed", Args: json.RawMessage(`{"fraction":0.5}`), IdempotencyKey: "x-1",
		Reason: receipt.PrivateRef(own.Commitment()), Opening: &own})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := LoadCredential(CredentialPath(data, DevAgent))
	if err != nil {
		t.Fatal(err)
	}
	token, err := capability.Parse(agent.Token)
	if err != nil {
		t.Fatal(err)
	}
	block := token.Blocks()[0].Digest
	op := clientOf(t, data, DevOperator)
	if _, err := op.Revoke(ctx, block, words); err != nil {
		t.Fatal(err)
	}
	rooted(ctx, t, n, n.log.Checkpoint().Size)

	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	limited, err := capability.Issue(n.keys.capability, "operator:limited", pub, capability.Grant{Actions: []string{"read"}, Twins: []string{"load-9"}, NotBefore: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	agent.Principal, agent.Token, agent.Key, agent.KeyFile = "operator:limited", limited.String(), key.Seed(), ""
	reader, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	revocation := receipt.CapabilitySubject(block)
	if _, err := reader.BundleOf(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{revocation}}, Disclose: true}); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("the revocation itself: %v", err)
	}
	ask := httpapi.BundleQuery{Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}}, Disclose: true}
	trust := pinned(t, data)
	for name, x := range map[string]struct {
		client *httpapi.Client
		want   string
	}{"limited": {reader, reason}, "whole domain": {op, reason + "\n" + words}} {
		raw, err := x.client.BundleOf(ctx, ask)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r := receipt.Verify(raw, trust); !r.OK || len(r.Commands) != 1 || !r.Commands[0].Verified {
			t.Errorf("%s: %+v", name, r.Failed())
		}
		if got := disclosed(t, raw); got != x.want {
			t.Errorf("%s: disclosed %q, want %q", name, got, x.want)
		}
	}
	// Who asks the node itself discloses nothing without saying what the asker may read.
	raw, err := evidence{n}.Bundle(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	if got := disclosed(t, raw); got != "" {
		t.Errorf("to nobody in particular: %q", got)
	}
}

// disclosed returns the private texts of a bundle, those with "feeder" first.
func disclosed(t *testing.T, raw []byte) string {
	t.Helper()
	b, err := receipt.DecodeBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range b.Parts {
		if p.Type != receipt.PartPrivate {
			continue
		}
		o, err := receipt.DecodeOpening(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		if texts = append(texts, o.Text); strings.Contains(o.Text, "feeder") {
			texts[0], texts[len(texts)-1] = texts[len(texts)-1], texts[0]
		}
	}
	return strings.Join(texts, "\n")
}

// countdown is a context that ends after it was looked at some times, as if its time had run out in the midst of the work.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// What does not fit into a bundle is refused before it is read, and who has no time left is not worked for.
func TestBundlesAreBounded(t *testing.T) {
	c := keyConfig(t.TempDir())
	n := running(t, c)
	subject := receipt.TelemetrySubject(c.Domain)
	body, err := receipt.Body(&receipt.BatchBody{Root: vaultmesh.Sum(nil), Count: 1, First: n.now().UTC(), Last: n.now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	add := func(k int) {
		t.Helper()
		for ; k > 0; k -= 2000 {
			err := n.journal.Submit(t.Context(), journal.Telemetry, func(tx journal.Tx) error {
				for range min(k, 2000) {
					if _, _, err := n.log.Append(tx, receipt.Draft{Kind: receipt.TelemetryBatch, Subject: subject, Actor: n.actor, Time: n.now().UTC(), Body: body}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	const some = 300
	add(some)
	ask := httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{subject}}}
	raw, err := evidence{n}.Bundle(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if r := receipt.Verify(raw, pinned(t, c.Data)); !r.OK {
		t.Errorf("%+v", r.Failed())
	}
	whole := &countdown{Context: t.Context(), left: 1 << 30}
	if _, err := (evidence{n}).Bundle(whole, ask); err != nil {
		t.Fatal(err)
	}
	looks := 1<<30 - whole.left
	if looks < 3*some { // each receipt is read, proved and looked at for what it names
		t.Errorf("of %d receipts the context was looked at %d times", some, looks)
	}
	for _, left := range []int{0, 1, some / 2, some + some/2, 2*some + some/2, looks - 1} {
		ctx := &countdown{Context: t.Context(), left: left}
		if _, err := (evidence{n}).Bundle(ctx, ask); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("out of time after %d looks: %v", left, err)
		} else if ctx.left < -2 {
			t.Errorf("out of time after %d looks, it was looked at %d times more", left, -ctx.left)
		}
	}

	many := make([]string, maxBundleSubjects+1)
	for i := range many {
		many[i] = fmt.Sprintf("operator:a-%d/x", i)
	}
	_, err = evidence{n}.Bundle(t.Context(), httpapi.BundleQuery{Scope: receipt.Scope{Subjects: many}})
	taught(t, err, vaultmesh.TooLarge, "several bundles")
	_, err = evidence{n}.Bundle(t.Context(), httpapi.BundleQuery{State: make([]string, maxBundle+1)})
	taught(t, err, vaultmesh.TooLarge, "several bundles")

	start := time.Now()
	add(maxBundleReceipts)
	t.Logf("%v for the receipts", time.Since(start))
	before := len(n.builds.all)
	ctx := &countdown{Context: t.Context(), left: 1 << 30}
	_, err = evidence{n}.Bundle(ctx, ask)
	taught(t, err, vaultmesh.TooLarge, "ranges")
	if looks := 1<<30 - ctx.left; looks > 10 {
		t.Errorf("it was refused after %d looks at the time: it read before it counted", looks)
	}
	if len(n.builds.all) != before || len(n.builds.work) != 0 {
		t.Errorf("%d and %d are at work", len(n.builds.all), len(n.builds.work))
	}
}

// Only so many bundles are built at once, only so many wait, and who waits does so for as long as there is time.
func TestBundlesTakeTurns(t *testing.T) {
	b := newBuilds()
	ctx, cancel := context.WithCancel(t.Context())
	var leave []func()
	for range maxBuilds {
		l, err := b.enter(ctx)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	waiting := make(chan error, maxBuildsQueued)
	for range maxBuildsQueued {
		go func() {
			l, err := b.enter(ctx)
			if err == nil {
				l()
			}
			waiting <- err
		}()
	}
	full := time.NewTimer(20 * time.Second)
	defer full.Stop()
	for len(b.all) < cap(b.all) {
		select {
		case <-full.C:
			t.Fatal("they never came")
		case <-time.After(time.Millisecond): // looks again; nothing depends on how long
		}
	}
	_, err := b.enter(ctx)
	taught(t, err, vaultmesh.RateLimited, "again")
	leave[0]() // its place goes round
	select {
	case err := <-waiting:
		if err != nil {
			t.Error(err)
		}
	case <-full.C:
		t.Fatal("no turn came")
	}
	for range maxBuildsQueued - 1 {
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
	if leave[0], err = b.enter(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := b.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
	for _, l := range leave {
		l()
	}
	if len(b.all)+len(b.work) != 0 {
		t.Errorf("%d and %d are taken", len(b.all), len(b.work))
	}
}

// taught fails unless err is of a kind and says what to do.
func taught(t *testing.T, err error, kind vaultmesh.Kind, fix string) {
	t.Helper()
	var e *vaultmesh.Error
	if vaultmesh.KindOf(err) != kind || !errors.As(err, &e) || !strings.Contains(e.Fix, fix) {
		t.Errorf("got %v, want an error of kind %v that tells %q", err, kind, fix)
	}
}
