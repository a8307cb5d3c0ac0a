//go:build cgo

package signer

import (
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
)

// While the library does not return, calls that give up leave nothing behind that would sign later for nobody, and Close
// waits for the one that is in there.
func TestOneCallInTheLibrary(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	k := newToken(Config{Timeout: time.Millisecond})
	k.refused = vaultmesh.Errorf(vaultmesh.Denied, "test", "", "the library answers at last")
	k.mu.Lock() // as a library that hangs
	before := runtime.NumGoroutine()
	for range 20 {
		if _, err := k.Sign(t.Context(), nil); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d calls wait for the library", n-before)
	}
	if len(k.turn) != 1 {
		t.Error("no call is under way, or Close would not see it")
	}
	k.mu.Unlock()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}
