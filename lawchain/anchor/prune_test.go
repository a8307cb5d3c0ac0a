package anchor

import (
	"fmt"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Of the stamps that are old the last of each day stays, of the anchors in blocks all, of the failed none; every receipt
// keeps an anchor of its day, whatever is asked of the engine goes on to work, and nothing grows without an end.
func TestOldJobsGo(t *testing.T) {
	const days, perDay, keep = 120, 6, 40
	tsa, bad, coin := &stamper{name: "rfc3161/one"}, &stamper{name: "rfc3161/bad"}, newChain("bitcoin")
	w := newWorld(t, Options{Keep: keep * 24 * time.Hour, Refusals: 1, Watch: time.Hour}, Plan{Target: tsa, Burst: 1000}, Plan{Target: bad, Burst: 1000}, Plan{Target: coin, Burst: 1000})
	tsa.now = w.clock.now
	bad.failing(func(Job) error { return vaultmesh.Errorf(vaultmesh.Denied, "tsa", "", "no") })
	born := map[vaultmesh.LogIndex]time.Time{}
	ask := func(key string, targets ...string) []Job {
		t.Helper()
		jobs, err := w.e.Request(t.Context(), Request{Targets: targets, By: "operator:ada", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	for day := range days {
		for n := range perDay {
			w.grow(1)
			born[vaultmesh.LogIndex(w.log.Checkpoint().Size-1)] = w.clock.now()
			targets := []string{"rfc3161/one"}
			if n == 0 && day%10 == 0 {
				targets = append(targets, "rfc3161/bad", "bitcoin")
			}
			ask(fmt.Sprintf("k-%d-%d", day, n), targets...)
			w.tick(time.Second)
			coin.mine(10)
			w.tick(24*time.Hour/perDay - time.Second)
		}
	}
	count := func(prefix string) (n int) {
		t.Helper()
		if err := w.j.Scan([]byte(prefix+"/"), []byte(prefix+"0"), func(k, _ []byte) (bool, error) { n++; return true, nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count("l/j/j")
	prune := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = w.e.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 4 { // the idempotency keys are looked at a few at a time
		prune()
	}
	after := count("l/j/j")
	// Old: one stamp a day, the anchors in blocks; young: all.
	most := (days - keep) + days/10 + (keep+1)*(perDay+2)
	if before < days*perDay || after > most || after < days {
		t.Errorf("of %d jobs %d are left, at most %d should be", before, after, most)
	}
	if ids, keys, notes := count("l/j/i"), count("l/j/k"), count("l/j/n"); ids != after || keys > after || notes > after {
		t.Errorf("%d identifiers, %d keys, %d checkpoints of %d jobs", ids, keys, notes, after)
	}
	check := func() {
		t.Helper()
		for i, at := range born {
			all, err := w.e.AnchorsCovering(i)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, a := range all {
				if a.Target == "rfc3161/one" {
					found = a.Time.Sub(at) <= 25*time.Hour && a.Size > uint64(i)
				}
			}
			if !found {
				t.Errorf("receipt %d of %s has no stamp of its day: %+v", i, at, all)
			}
		}
		if blocks, err := Blocks(w.j, "bitcoin", 1000); err != nil || len(blocks) != days/10 {
			t.Errorf("%d blocks, %v", len(blocks), err)
		}
		if _, err := w.e.VerifiedSince(w.clock.now().Add(-2 * keep * 24 * time.Hour)); err != nil {
			t.Error(err)
		}
		seen, last := 0, ""
		for more := true; more; {
			jobs, again, err := w.e.Jobs(t.Context(), Filter{Before: last, Limit: 50})
			if err != nil {
				t.Fatal(err)
			}
			if more = again && len(jobs) > 0; more {
				last = jobs[len(jobs)-1].ID
			}
			seen += len(jobs)
		}
		if seen != after {
			t.Errorf("%d jobs are listed of %d", seen, after)
		}
	}
	check()
	w.restart()
	check()
	prune()
	if again := count("l/j/j"); again != after {
		t.Errorf("%d jobs after another run, %d before", again, after)
	}
	// An old key is a new one again; a young one is remembered.
	made := w.want(ask("k-0-1", "rfc3161/one")[0].ID, Final)
	if young := ask(fmt.Sprintf("k-%d-%d", days-1, perDay-1), "rfc3161/one"); young[0].ID != made.ID {
		t.Errorf("%s, want %s", young[0].ID, made.ID)
	}
}

// However many anchors were verified while the archive was out of reach, none of them is left out without a word.
func TestVerifiedSinceHasAll(t *testing.T) {
	defer func(n uint64) { maxSearch = n }(maxSearch)
	maxSearch = 3
	tsa := &stamper{name: "rfc3161/one"}
	w := newWorld(t, Options{Watch: time.Hour}, Plan{Target: tsa, Burst: 1000})
	tsa.now = w.clock.now
	var since time.Time
	for n := range 20 {
		if n == 5 {
			since = w.clock.now()
			w.tick(time.Minute)
		}
		w.grow(1)
		if _, err := w.e.Request(t.Context(), Request{Targets: []string{"rfc3161/one"}, By: "operator:ada", Key: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
		w.tick(time.Minute)
	}
	all, err := w.e.VerifiedSince(since)
	if err != nil || len(all) != 15 {
		t.Errorf("%d anchors of 15 that were verified since: %v", len(all), err)
	}
}
