package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

func TestNothingBehindTheHostShows(t *testing.T) {
	const address = "http://user:hunter2@127.0.0.1:1/PATHKEY/tsa?apikey=QUERYKEY#FRAGMENT"
	if got := remote.Place(address); got != "http://127.0.0.1:1" {
		t.Errorf("place %q", got)
	}
	for _, bad := range []string{"", "PATHKEY", "http://user:hunter2@[::1/PATHKEY", "user:hunter2@host", "http://h:x%zz/"} {
		if got := remote.Place(bad); got != "" {
			t.Errorf("%q is at %q", bad, got)
		}
	}
	_, err := http.Get(address)
	if err == nil || !strings.Contains(err.Error(), "PATHKEY") {
		t.Fatalf("net/http does not show its address any more: %v", err)
	}
	if cause := remote.Cause(fmt.Errorf("asked: %w", err)); strings.Contains(cause.Error(), "KEY") || strings.Contains(cause.Error(), "user") || !strings.Contains(cause.Error(), "127.0.0.1:1") {
		t.Error(cause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = http.DefaultClient.Do(q); !errors.Is(remote.Cause(err), context.Canceled) {
		t.Errorf("the reason is lost: %v", err)
	}
	if remote.Cause(nil) != nil || remote.Cause(context.Canceled) != context.Canceled {
		t.Error("another error is changed")
	}
}
