package witness_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// A witness that agrees again is told of as often as it disagreed before, and not otherwise; one that lies with another
// size each time never is.
func TestConflictsAreCleared(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(20, "main")
	honest := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}})
	lies, told := false, 1000
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !lies {
			honest.ServeHTTP(w, r)
			return
		}
		told++
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintln(w, told)
	}))
	defer web.Close()
	_, vkey := key(t, "witness.example/w1")
	policy, err := receipt.ParseWitnessPolicy([]byte("witness w " + vkey + " " + web.URL + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	reports, cleared := 0, 0
	var broken error
	f, err := witness.NewFeeder(witness.FeederOptions{Origin: "example.com/log", Log: x, Policy: policy, Now: func() time.Time { return clock }, Logger: quiet(),
		Keep:   func(context.Context, witness.Head) error { return nil },
		Report: func(context.Context, receipt.ConflictBody, []byte, []byte) error { reports++; return nil },
		Cleared: func(_ context.Context, name string) error {
			if name != "witness.example/w1" {
				t.Errorf("cleared %q", name)
			}
			cleared++
			return broken
		}}, witness.Head{})
	if err != nil {
		t.Fatal(err)
	}
	round := func(wantReports, wantCleared int) {
		t.Helper()
		x.grow(1, "main")
		clock = clock.Add(10 * time.Minute)
		f.Round(t.Context())
		if reports != wantReports || cleared != wantCleared {
			t.Fatalf("%d reports, %d times cleared; want %d and %d", reports, cleared, wantReports, wantCleared)
		}
	}
	round(0, 1) // a process does not know what was before it
	round(0, 1)
	lies = true
	round(1, 1)
	round(2, 1)
	lies, broken = false, errors.New("the disk is full")
	round(2, 2)
	broken = nil
	round(2, 3)
	round(2, 3)
}

// What is behind the host of a witness's address shows in no error.
func TestErrorsHoldNoSecretOfTheURL(t *testing.T) {
	v, err := note.NewVerifier(newTree(t, "example.com/log", "1").vkey)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"http://hidden:hunter2@127.0.0.1:1/PATHKEY", "http://[::1/PATHKEY?hunter2"} {
		_, err := (&witness.Client{URL: address, Verifier: v}).Add(t.Context(), witness.Request{})
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "PATHKEY") {
			t.Errorf("%v", err)
		}
		if _, err = (&witness.Client{URL: address, Verifier: v}).Held(t.Context(), "x"); err == nil || strings.Contains(err.Error(), "PATHKEY") {
			t.Errorf("%v", err)
		}
	}
}
