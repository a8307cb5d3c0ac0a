package anchor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

const poll = 15 * time.Second

// One checkpoint goes all the way at two targets; every state, receipt and query is as documented.
func TestLife(t *testing.T) {
	c := newChain("bitcoin")
	w := newWorld(t, Options{}, Plan{Target: c}, Plan{Target: &stamper{name: "rfc3161/one"}})
	w.grow(5)
	jobs := w.ask()
	w.same("jobs", len(jobs), 2)
	coin, stamp := jobs[0], jobs[1]
	w.same("ids", coin.ID+" "+stamp.ID, "bitcoin@5 rfc3161/one@5")
	body, err := receipt.CheckpointBody(noteOf(w, 5))
	if err != nil {
		t.Fatal(err)
	}
	w.same("digest", coin.Digest, vaultmesh.Sum(body))
	if a, err := w.e.AnchorsCovering(0); err != nil || len(a) != 0 {
		t.Fatalf("before anything was proved: %v %v", a, err)
	}
	w.tick(0)
	w.want(stamp.ID, Final)
	if j := w.want(coin.ID, Submitted); j.Fee != "100" || j.Proof != nil || !j.Proved.IsZero() {
		t.Fatalf("submitted job %+v", j)
	}
	w.same("share while submitted", w.coverage("bitcoin").Share, 0)
	w.tick(poll)
	w.want(coin.ID, Submitted)
	c.mine(1)
	w.tick(poll)
	if j := w.want(coin.ID, Confirmed); j.Height != 1 || j.Block != "block-1" || j.Source != "test chain" || j.Proved.Second() != 1 || len(j.Proof) == 0 {
		t.Fatalf("confirmed job %+v", j)
	}
	c.mine(2)
	w.tick(poll)
	w.want(coin.ID, Final)
	w.same("receipts", w.told("bitcoin"), []string{"requested", "verified", "verified"})
	w.same("receipts", w.told("rfc3161/one"), []string{"requested", "verified"})
	last := w.receipts("bitcoin")[2]
	b, err := receipt.ReadBody[receipt.AnchorBody](&last)
	if err != nil || !b.Final || b.Height != 1 || b.Block != "block-1" || b.Checkpoint != coin.Digest || b.Size != 5 || b.Proof != vaultmesh.Sum(w.job(coin.ID).Proof) || b.Fee != "100" {
		t.Fatalf("%+v %v", b, err)
	}
	if r := w.receipts("bitcoin")[0]; r.Actor != "operator:ada" {
		t.Fatalf("requested by %s", r.Actor)
	}
	for i := range vaultmesh.LogIndex(7) {
		a, err := w.e.AnchorsCovering(i)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 2}[i < 5]; len(a) != want {
			t.Fatalf("receipt %d is covered by %d anchors, want %d", i, len(a), want)
		}
		for _, x := range a {
			if x.Size != 5 || string(x.Note) != string(noteOf(w, 5)) || !x.Final {
				t.Fatalf("%+v", x)
			}
		}
	}
	if all, err := w.e.VerifiedSince(w.clock.now().Add(-time.Hour)); err != nil || len(all) != 2 || all[0].Target != "bitcoin" || len(all[0].Proof) == 0 || string(all[1].Note) != string(noteOf(w, 5)) {
		t.Fatalf("%+v %v", all, err)
	}
	if later, err := w.e.VerifiedSince(w.clock.now()); err != nil || len(later) != 0 {
		t.Fatalf("%+v %v", later, err)
	}
	if a, err := w.e.AnchorsFor(7); err != nil || len(a) != 2 || a[0].Size != 5 || a[1].Size != 5 {
		t.Fatalf("beyond what is covered: %+v %v", a, err)
	}
	w.restart()
	w.same("after a restart", w.want(coin.ID, Final).Height, 1)
	cov := w.coverage("bitcoin")
	w.same("coverage", fmt.Sprint(cov.Anchored, " ", cov.Jobs[Final], " ", cov.Spent), "5 1 100")
	if cov.Share <= 0 || cov.Share >= 1 || !cov.Oldest.IsZero() {
		t.Fatalf("%+v", cov)
	}
	list, more, err := w.e.Jobs(t.Context(), Filter{})
	if err != nil || more || len(list) != 2 || list[0].ID != stamp.ID || list[0].Proof != nil {
		t.Fatalf("%+v %v %v", list, more, err)
	}
}

func noteOf(w *world, size uint64) []byte {
	w.Helper()
	note, ok, err := w.j.Get(keyNote(size))
	if err != nil || !ok {
		w.Fatal(ok, err)
	}
	return note
}

// Whatever a target claims, nothing is anchored that it does not prove.
func TestLyingTargets(t *testing.T) {
	claim := func(change func(*Job)) func(Job) Job {
		return func(j Job) Job { change(&j); return j }
	}
	for name, twist := range map[string]func(Job) Job{
		"no proof":           claim(func(j *Job) { j.State = Final }),
		"another digest":     claim(func(j *Job) { j.State, j.Proof = Confirmed, []byte(`{"tx":"x","height":1}`) }),
		"not a proof":        claim(func(j *Job) { j.State, j.Proof = Final, []byte("trust me") }),
		"no such state":      claim(func(j *Job) { j.State = "anchored" }),
		"its own time":       claim(func(j *Job) { j.State, j.Proved = Confirmed, time.Unix(1, 0) }),
		"endless memo":       claim(func(j *Job) { j.Memo = make([]byte, maxMemo+1) }),
		"endless proof":      claim(func(j *Job) { j.State, j.Proof = Final, make([]byte, maxProof+1) }),
		"negative fee":       claim(func(j *Job) { j.Fee = "-5" }),
		"panic":              func(Job) Job { panic("boom") },
		"other job's fields": claim(func(j *Job) { j.ID, j.Size, j.Digest, j.Target, j.State = "x", 1<<40, vaultmesh.Sum(nil), "y", Final }),
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain("bitcoin")
			c.twist = twist
			w := newWorld(t, Options{Refusals: 3}, Plan{Target: c})
			w.grow(3)
			id := w.ask()[0].ID
			for range 20 {
				w.tick(10 * time.Minute)
				if j := w.job(id); j.State.Anchored() || !j.Proved.IsZero() || j.Size != 3 || j.Target != "bitcoin" {
					t.Fatalf("%+v", j)
				}
			}
			w.want(id, Failed)
			if a, err := w.e.AnchorsCovering(0); err != nil || len(a) != 0 {
				t.Fatalf("%v %v", a, err)
			}
			w.same("receipts", w.told("bitcoin"), []string{"requested", "failed"})
			w.same("share", w.coverage("bitcoin").Share, 0)
		})
	}
}

// A proof that states a time in the future, or that its own target refuses later, is no anchor.
func TestFutureTime(t *testing.T) {
	c := newChain("bitcoin")
	w := newWorld(t, Options{}, Plan{Target: c})
	w.grow(1)
	id := w.ask()[0].ID
	w.tick(0)
	c.mine(1)
	w.clock.pass(-4 * time.Hour) // this machine's clock goes four hours behind the chain's
	for range 5 {
		w.e.mu.Lock()
		w.e.lanes[0].open[0].due = time.Time{}
		w.e.mu.Unlock()
		w.tick(0)
		w.want(id, Submitted)
	}
	if s := w.e.lanes[0].stats; s.refused == 0 {
		t.Fatal("the proof was not refused")
	}
	w.tick(4 * time.Hour)
	w.want(id, Confirmed)
}

// A re-organisation takes a confirmed job back; the receipts say what was lost and what came of it.
func TestReorg(t *testing.T) {
	c := newChain("bitcoin")
	w := newWorld(t, Options{}, Plan{Target: c})
	w.grow(4)
	id := w.ask()[0].ID
	w.tick(0)
	c.mine(1)
	w.tick(poll)
	w.want(id, Confirmed)
	c.reorg(2)
	w.tick(poll)
	if j := w.want(id, Submitted); len(j.Proof) > 0 || j.Height != 0 || !j.Proved.IsZero() {
		t.Fatalf("what was taken back still claims %+v", j)
	}
	if a, err := w.e.AnchorsCovering(0); err != nil || len(a) != 0 {
		t.Fatalf("%v %v", a, err)
	}
	w.same("anchored", w.coverage("bitcoin").Anchored, 0)
	c.mine(1)
	w.tick(poll)
	w.same("height", w.want(id, Confirmed).Height, 4)
	c.mine(3)
	w.tick(poll)
	w.want(id, Final)
	w.same("receipts", w.told("bitcoin"), []string{"requested", "verified", "lost", "verified", "verified"})
	r := w.receipts("bitcoin")[2]
	if b, err := receipt.ReadBody[receipt.AnchorEndBody](&r); err != nil || b.Height != 1 || b.Block != "block-1" || b.Final || b.Reason == "" {
		t.Fatalf("%+v %v", b, err)
	}
	w.same("sent", len(c.sent), 1)
	w.same("alarms", len(w.lost), 0)
	w.same("lost", w.coverage("bitcoin").Lost, 1)
}

// A final anchor that a deeper re-organisation takes away raises an alarm and a receipt, and is worked on again.
func TestLostFinal(t *testing.T) {
	c := newChain("bitcoin")
	w := newWorld(t, Options{Watch: 24 * time.Hour, Recheck: time.Hour}, Plan{Target: c})
	w.grow(2)
	older := w.ask()[0].ID
	w.tick(0)
	c.mine(3)
	w.tick(poll)
	w.tick(poll)
	w.want(older, Final)
	w.tick(25 * time.Hour) // this one is settled, and not looked at any more
	w.tick(2 * time.Hour)
	w.grow(2)
	id := w.ask()[0].ID
	w.tick(0)
	c.mine(3)
	w.tick(poll)
	w.tick(poll)
	w.want(id, Final)
	c.before = func(step string, _ Job) error {
		if step == "prove" {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "chain", "", "the node is away")
		}
		return nil
	}
	w.tick(2 * time.Hour)
	w.want(id, Final) // that nobody can say is no loss
	c.before = nil
	c.reorg(5)
	w.restart()
	w.tick(2 * time.Hour)
	w.want(id, Submitted)
	w.want(older, Final)
	w.same("alarms", len(w.lost), 1)
	told := w.told("bitcoin")
	w.same("last receipt", told[len(told)-1], "lost")
	w.same("falls back to the older anchor", w.coverage("bitcoin").Anchored, 2)
	if a, err := w.e.AnchorsFor(1 << 40); err != nil || len(a) != 1 || a[0].Size != 2 {
		t.Fatalf("%+v %v", a, err)
	}
	c.mine(3)
	w.tick(poll)
	w.tick(poll)
	w.want(id, Final)
}

// Retries wait twice as long each time, by chance between half and one and a half of it, and the same seed gives the same.
func TestBackoff(t *testing.T) {
	run := func(seed uint64) []time.Duration {
		s := &stamper{name: "rfc3161/away", fail: func(Job) error { return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", "", "away") }}
		w := newWorld(t, Options{Seed: seed, RetryMin: time.Second, RetryMax: time.Minute, GiveUp: time.Hour}, Plan{Target: s})
		w.grow(1)
		id := w.ask()[0].ID
		var waits []time.Duration
		for w.job(id).State != Failed {
			w.tick(0)
			j := w.job(id)
			if j.State == Queued {
				waits = append(waits, j.NotBefore.Sub(w.clock.now()))
				w.clock.pass(waits[len(waits)-1])
			}
			if len(waits) > 1000 {
				t.Fatal("it is never given up")
			}
		}
		w.same("steps", s.calls, len(waits))
		w.same("receipts", w.told("rfc3161/away"), []string{"requested", "failed"})
		if c := w.coverage("rfc3161/away"); c.Jobs[Failed] != 1 || c.Error != "away" {
			t.Fatalf("%+v", c)
		}
		return waits
	}
	a := run(7)
	for i, d := range a {
		want := min(time.Second<<min(i, 10), time.Minute)
		if d < want/2 || d > want+want/2+1 {
			t.Fatalf("wait %d is %s, want about %s", i, d, want)
		}
	}
	if b := run(7); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("the same seed gave other waits:\n%v\n%v", a, b)
	}
	if b := run(8); fmt.Sprint(a) == fmt.Sprint(b) {
		t.Fatal("another seed gave the same waits")
	}
}

// What was signed is not given up by the engine, however long the network is away, and is not signed twice.
func TestSignedIsNeverGivenUp(t *testing.T) {
	c := newChain("bitcoin")
	c.before = func(step string, _ Job) error {
		if step == "send" {
			return vaultmesh.Errorf(vaultmesh.Denied, "chain", "", "no")
		}
		return nil
	}
	w := newWorld(t, Options{GiveUp: time.Hour, Refusals: 2}, Plan{Target: c})
	w.grow(1)
	id := w.ask()[0].ID
	for range 50 {
		w.tick(time.Hour)
	}
	w.want(id, Queued)
	w.restart()
	c.before = nil
	w.tick(time.Hour)
	w.want(id, Submitted)
	w.same("built", c.built, 1)
}

// The budget of a day is kept over restarts; what does not fit is not stored, not sent, and built anew on the next day.
func TestBudget(t *testing.T) {
	c := newChain("bitcoin")
	c.budget = big.NewInt(250)
	w := newWorld(t, Options{GiveUp: 100 * time.Hour}, Plan{Target: c, Burst: 100})
	var ids []string
	for range 2 {
		w.grow(1)
		ids = append(ids, w.ask()[0].ID)
		w.tick(poll)
		c.mine(1)
		w.tick(poll)
	}
	w.same("spent", w.coverage("bitcoin").Today, "200")
	w.restart()
	w.grow(1)
	third := w.ask()[0].ID
	for range 10 {
		w.tick(time.Hour)
		if j := w.want(third, Queued); len(j.Memo) > 0 || j.Fee != "" || !strings.Contains(j.Detail, "250") {
			t.Fatalf("%+v", j)
		}
	}
	w.same("sent", len(c.sent), 2)
	w.tick(4 * time.Hour) // past midnight
	w.want(third, Submitted)
	w.same("sent", len(c.sent), 3)
	cov := w.coverage("bitcoin")
	w.same("spent", cov.Today+" "+cov.Spent, "100 300")
	// In the end it cost less.
	c.mine(5)
	c.twist = func(j Job) Job { j.Fee = "40"; return j }
	w.tick(poll)
	cov = w.coverage("bitcoin")
	w.same("spent", cov.Today+" "+cov.Spent, "100 180") // the third is confirmed: it may still be taken back, and cost more
	w.tick(poll)
	cov = w.coverage("bitcoin")
	w.same("spent", cov.Today+" "+cov.Spent, "40 120") // all three jobs; today, the one of today
	for _, id := range append(ids, third) {
		w.want(id, Final)
	}
}

// A target that forgets what it signed and sent, and says that it costs nothing any more, is not believed: what may be paid
// stays in the accounts, and the day's budget ends it.
func TestBudgetOfAForgetfulTarget(t *testing.T) {
	for name, forget := range map[string]func(*Job){
		"without a memo":        func(j *Job) { j.State, j.Memo, j.Proof, j.Fee = Queued, nil, nil, "" },
		"with a memo":           func(j *Job) { j.State, j.Memo, j.Proof, j.Fee = Queued, json.RawMessage(`{}`), nil, "" },
		"and counts it himself": func(j *Job) { j.State, j.Memo, j.Proof = Queued, nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain("bitcoin")
			c.budget = big.NewInt(250)
			w := newWorld(t, Options{GiveUp: 100 * time.Hour}, Plan{Target: c, Burst: 100})
			w.grow(1)
			id, forgets := w.ask()[0].ID, true
			c.twist = func(j Job) Job {
				switch {
				case j.State != Queued && forgets:
					forget(&j)
				case strings.Contains(name, "counts") && j.Detail == "built": // as package ethereum does
					j.Fee = fmt.Sprint(100 * (len(c.sent) + 1))
				}
				return j
			}
			for day := range 2 {
				for range 8 {
					w.tick(poll)
					w.restart()
				}
				w.same("sent", len(c.sent), 2*(day+1)) // two fit into a day's budget
				w.same("spent today", w.coverage("bitcoin").Today, "200")
				w.same("spent", w.coverage("bitcoin").Spent, 100*len(c.sent))
				w.tick(24 * time.Hour)
			}
			forgets = false
			w.tick(24 * time.Hour)
			c.mine(10)
			for range 4 {
				w.tick(poll)
			}
			w.want(id, Final)
			w.same("spent", w.coverage("bitcoin").Spent, 100*len(c.sent))
		})
	}
}

// What a job did not cost after all goes back to the days that were charged for it: it makes no room on another.
func TestRefundGoesToItsDay(t *testing.T) {
	c := newChain("bitcoin")
	c.budget = big.NewInt(250)
	w := newWorld(t, Options{GiveUp: 100 * time.Hour}, Plan{Target: c, Burst: 100})
	w.grow(1)
	first := w.ask()[0].ID
	w.tick(poll)
	w.want(first, Submitted)
	w.same("the first day", w.coverage("bitcoin").Today, "100")
	one := w.clock.now()
	w.clock.pass(24 * time.Hour)
	c.twist = func(j Job) Job { j.Fee = "150"; return j } // dearer by 50, on the second day
	w.tick(poll)
	c.twist = nil
	w.same("the second day", w.coverage("bitcoin").Today, "50")
	c.mine(1)
	w.tick(poll)
	w.want(first, Confirmed)
	w.grow(1)
	second := w.ask()[0].ID
	w.tick(poll)
	w.want(second, Submitted)
	w.same("the second day", w.coverage("bitcoin").Today, "150")
	w.restart()
	c.mine(5)
	c.twist = func(j Job) Job {
		if j.ID == first {
			j.Fee = "40"
		}
		return j
	}
	w.tick(poll)
	w.want(first, Final)
	w.same("the second day", w.coverage("bitcoin").Today, "100")
	day, _, err := w.j.Get(keyDay("bitcoin", one.UTC().Format("20060102")))
	if err != nil {
		t.Fatal(err)
	}
	w.same("the first day", string(day), "40")
	w.same("all", w.coverage("bitcoin").Spent, "140")
}

// A day's budget that is too small for a higher fee does not keep a sent transaction from being found in its block.
func TestBudgetOfAHigherFee(t *testing.T) {
	c := newChain("bitcoin")
	c.budget = big.NewInt(150)
	w := newWorld(t, Options{}, Plan{Target: c})
	w.grow(1)
	id := w.ask()[0].ID
	w.tick(poll)
	w.want(id, Submitted)
	c.twist = func(j Job) Job {
		if j.State == Submitted {
			j.Fee = "200"
		}
		return j
	}
	w.tick(poll)
	if j := w.want(id, Submitted); j.Fee != "100" || !strings.Contains(j.Detail, "150") {
		t.Fatalf("%+v", j)
	}
	c.mine(1)
	w.tick(time.Hour) // at most: not tomorrow
	w.want(id, Confirmed)
}

// A target that costs money has one transaction under way at a time.
func TestOneUnderWay(t *testing.T) {
	c := newChain("bitcoin")
	w := newWorld(t, Options{}, Plan{Target: c, Burst: 10})
	var ids []string
	for range 3 {
		w.grow(1)
		ids = append(ids, w.ask()[0].ID)
	}
	for i, id := range ids {
		w.tick(poll)
		w.want(id, Submitted)
		for _, later := range ids[i+1:] {
			w.want(later, Queued)
		}
		w.same("sent", len(c.sent), i+1)
		c.mine(1)
	}
	w.tick(poll)
	for _, id := range ids {
		if j := w.job(id); !j.State.Anchored() {
			t.Fatalf("%+v", j)
		}
	}
}

// The schedule anchors at its cadence, only what is new, and never because of its own receipts.
func TestSchedule(t *testing.T) {
	slow, fast := &stamper{name: "rfc3161/slow"}, &stamper{name: "rfc3161/fast"}
	w := newWorld(t, Options{}, Plan{Target: slow, Every: time.Hour}, Plan{Target: fast, Every: time.Minute})
	w.tick(time.Hour)
	w.same("an empty log", slow.calls+fast.calls, 0)
	w.grow(3)
	w.tick(0)
	w.same("at first", fmt.Sprint(slow.calls, fast.calls), "1 1")
	for range 200 {
		w.tick(time.Minute)
	}
	w.same("while nothing happened but anchors", fmt.Sprint(slow.calls, fast.calls), "1 1")
	for range 20 { // the root of the state changes with the anchors' own subjects
		w.root()
		w.tick(time.Minute)
	}
	w.same("and the roots that follow from them", fmt.Sprint(slow.calls, fast.calls), "1 1")
	w.grow(1)
	w.tick(0)
	w.same("after growth", fmt.Sprint(slow.calls, fast.calls), "2 2")
	for range 59 {
		w.grow(1)
		w.tick(time.Minute)
	}
	w.same("in an hour", fmt.Sprint(slow.calls, fast.calls), "2 61")
	w.restart()
	w.grow(1)
	w.tick(30 * time.Second)
	w.same("a restart does not begin anew", fmt.Sprint(slow.calls, fast.calls), "2 61")
	w.tick(30 * time.Second)
	w.same("and the cadence goes on", fmt.Sprint(slow.calls, fast.calls), "3 62")
	// After a failure the schedule tries again although nothing new came.
	fast.fail = func(Job) error { return errors.New("bad") }
	w.grow(1)
	for range 30 {
		w.tick(10 * time.Minute)
	}
	fast.fail = nil
	for range 10 {
		w.tick(10 * time.Minute)
	}
	c := w.coverage("rfc3161/fast")
	if c.Jobs[Failed] == 0 || !c.Oldest.IsZero() {
		t.Fatalf("%+v", c)
	}
}

// Asking is idempotent, bounded, and its errors say what to do.
func TestRequest(t *testing.T) {
	c, s := newChain("bitcoin"), &stamper{name: "rfc3161/one"}
	w := newWorld(t, Options{Queue: 3}, Plan{Target: c, Burst: 4, Refill: time.Minute}, Plan{Target: s, Burst: 100})
	ask := func(key string, targets ...string) ([]Job, error) {
		return w.e.Request(t.Context(), Request{Targets: targets, Key: key, By: "agent:x"})
	}
	refused := func(kind vaultmesh.Kind, says string, key string, targets ...string) {
		t.Helper()
		_, err := ask(key, targets...)
		if vaultmesh.KindOf(err) != kind || err == nil || !strings.Contains(err.Error(), says) {
			t.Fatalf("%v, want %v that says %q", err, kind, says)
		}
	}
	refused(vaultmesh.NotFound, "empty", "")
	w.grow(1)
	refused(vaultmesh.Invalid, "bitcoin, rfc3161/one", "", "etherium")
	refused(vaultmesh.Invalid, "idempotency_key", "a b")
	first, err := ask("k1")
	if err != nil || len(first) != 2 {
		t.Fatal(first, err)
	}
	again, err := ask("")
	if err != nil || again[0].ID != first[0].ID || again[1].ID != first[1].ID {
		t.Fatalf("nothing is new, and other jobs were made: %v %v", again, err)
	}
	w.same("receipts", w.told("bitcoin"), []string{"requested"})
	w.grow(1)
	retry, err := ask("k1")
	if err != nil || retry[0].ID != first[0].ID {
		t.Fatalf("a retry with the key made another job: %v %v", retry, err)
	}
	refused(vaultmesh.Conflict, "new key", "k1", "bitcoin")
	byKind, err := ask("", "rfc3161")
	if err != nil || len(byKind) != 1 || byKind[0].ID != "rfc3161/one@4" {
		t.Fatal(byKind, err)
	}
	second, err := ask("k2", "bitcoin") // bitcoin: 2 of 4 tokens, 2 of 3 places
	if err != nil {
		t.Fatal(err)
	}
	w.grow(1)
	if _, err := ask("", "bitcoin"); err != nil { // 3 of 4, 3 of 3
		t.Fatal(err)
	}
	w.grow(1)
	refused(vaultmesh.RateLimited, "wait already", "", "bitcoin")
	w.tick(0) // one goes out
	if _, err := ask("", "bitcoin"); err != nil {
		t.Fatal(err)
	}
	w.grow(1)
	w.clock.pass(30 * time.Second)
	c.mine(1)
	w.tick(0)
	refused(vaultmesh.RateLimited, "wait 30 s", "", "bitcoin")
	for i := 0; ; i++ { // a new key each time, and nothing new to anchor: what is kept for ever is bounded too
		_, err := ask(fmt.Sprintf("flood-%d", i), "rfc3161")
		if vaultmesh.KindOf(err) == vaultmesh.RateLimited && err != nil {
			break
		}
		if err != nil || i > 100 {
			t.Fatal(i, err)
		}
	}
	w.tick(0)
	calls := s.calls
	refused(vaultmesh.RateLimited, "bitcoin", "") // all or nothing
	w.tick(0)
	w.same("the other target's jobs", s.calls, calls)
	w.restart()
	again, err = ask("k2", "bitcoin")
	if err != nil || again[0].ID != second[0].ID {
		t.Fatalf("the key does not outlive a restart: %v %v", again, err)
	}
}

// A target that does not return is cut off, and others are not kept waiting.
func TestStepTime(t *testing.T) {
	slow := &blocking{stamper: stamper{name: "rfc3161/slow"}}
	quick := &stamper{name: "rfc3161/quick"}
	w := newWorld(t, Options{StepTime: 20 * time.Millisecond}, Plan{Target: slow}, Plan{Target: quick})
	w.grow(1)
	jobs := w.ask()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.e.Run(ctx) }()
	j, err := w.e.Wait(t.Context(), jobs[1].ID, Final, nil)
	if err != nil || j.State != Final {
		t.Fatal(j, err)
	}
	var seen []string
	short, cancel := context.WithCancel(t.Context())
	_, err = w.e.Wait(short, jobs[0].ID, Submitted, func(j Job) {
		seen = append(seen, j.Detail)
		if j.Attempts > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(seen) == 0 {
		t.Fatalf("%v %v", err, seen)
	}
	stop()
	<-done
	if j := w.want(jobs[0].ID, Queued); j.Attempts != 1 {
		t.Fatalf("%+v", j)
	}
}

type blocking struct{ stamper }

func (b *blocking) Advance(ctx context.Context, j Job) (Job, error) {
	<-ctx.Done()
	return j, vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", "", "the authority is slow").Because(ctx.Err())
}

func TestMetrics(t *testing.T) {
	c := newChain("bitcoin")
	c.budget = big.NewInt(1000)
	w := newWorld(t, Options{}, Plan{Target: c, Every: time.Hour})
	w.grow(3)
	w.tick(0)
	c.mine(1)
	w.tick(poll)
	w.grow(1) // beside the anchor.verified receipt: 3 of 5 are anchored
	w.clock.pass(10 * time.Second)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.e)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "vaultmesh_anchor_")
			for _, x := range m.Label {
				if x.GetName() != "target" {
					name += " " + x.GetValue()
				} else if x.GetValue() != "bitcoin" {
					t.Errorf("%s is about %s", name, x.GetValue())
				}
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{"receipts": 3, "share": 0.6, "fees satoshi": 100, "fees_today satoshi": 100, "fees_day_budget satoshi": 1000, "oldest_unanchored_seconds": 10, "late": 0,
		"jobs confirmed": 1, "jobs queued": 0, "jobs submitted": 0, "jobs final": 0, "jobs failed": 0, "attempts_total": 3, "failures_total": 0, "refused_proofs_total": 0, "lost_total": 0, "cadence_seconds": 3600} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
	w.same("warning", w.coverage("bitcoin").Warning, "")
	c.before = func(string, Job) error {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "chain", "", "the node is away")
	}
	for range 5 {
		w.tick(time.Hour)
	}
	if text := w.coverage("bitcoin").Warning; !strings.Contains(text, "bitcoin") || !strings.Contains(text, "away") {
		t.Fatalf("warning %q", text)
	}
}

// A bundle that needs a time-stamp gets one at once: from the first authority that answers, and at most once.
func TestCover(t *testing.T) {
	bad, good, coin := &stamper{name: "rfc3161/bad"}, &stamper{name: "rfc3161/good"}, newChain("bitcoin")
	away := func(Job) error { return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", "", "away") }
	bad.fail = away
	w := newWorld(t, Options{RetryMin: time.Hour, RetryMax: time.Hour}, Plan{Target: coin}, Plan{Target: bad}, Plan{Target: good})
	w.grow(3)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.e.Run(ctx) }()
	defer func() { stop(); <-done }()
	for range 3 {
		if err := w.e.Cover(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	}
	w.same("asked", fmt.Sprint(bad.calls, good.calls, coin.built), "1 1 0")
	if a, err := w.e.AnchorsCovering(2); err != nil || len(a) != 1 || a[0].Target != "rfc3161/good" {
		t.Fatal(a, err)
	}
	bad.failing(nil)
	w.clock.pass(time.Second)
	w.grow(1)
	var all sync.WaitGroup
	for range 8 { // many at once share one
		all.Go(func() {
			if err := w.e.Cover(t.Context(), vaultmesh.LogIndex(w.log.Checkpoint().Size-1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	bad.failing(away)
	if err := w.e.Cover(t.Context(), 100); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatal(err)
	}
	good.failing(away)
	w.grow(1)
	last := vaultmesh.LogIndex(w.log.Checkpoint().Size - 1)
	for range 2 { // the second time the jobs are there, and are tried again at once
		if err := w.e.Cover(t.Context(), last); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "away") {
			t.Fatal(err)
		}
	}
	good.failing(nil)
	w.clock.pass(time.Second)
	if err := w.e.Cover(t.Context(), last); err != nil {
		t.Fatal(err)
	}
}

// Of many final anchors only the newest are proved again and again.
func TestWatchIsBounded(t *testing.T) {
	c := newChain("bitcoin")
	c.depth = 1
	w := newWorld(t, Options{}, Plan{Target: c, Burst: 1000})
	for range maxWatched + 10 {
		w.grow(1)
		id := w.ask()[0].ID
		w.tick(poll)
		c.mine(1)
		w.tick(poll)
		w.tick(poll)
		w.want(id, Final)
	}
	proofs := 0
	c.before = func(step string, _ Job) error {
		if step == "prove" {
			proofs++
		}
		return nil
	}
	w.tick(2 * time.Hour)
	proofs = 0
	w.tick(2 * time.Hour)
	w.same("proved again", proofs, maxWatched+1)
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "rfc3161/", "x@1", strings.Repeat("x", 90), "rfc3161/a\x00"} {
		o := Options{Plans: []Plan{{Target: &stamper{name: name}}}}
		if _, err := New(o); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := New(Options{Plans: []Plan{{Target: &stamper{name: "a"}}, {Target: &stamper{name: "a"}}}}); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil {
		t.Error(err)
	}
}
