package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnchorBitcoin makes a key, never over another, and says clearly that there is no node.
func TestAnchorBitcoin(t *testing.T) {
	command := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(append([]string{"anchor", "bitcoin"}, args...), &out, &out); code != want {
			t.Fatalf("%v: status %d, want %d\n%s", args, code, want, out.String())
		}
		return out.String()
	}
	path := filepath.Join(t.TempDir(), "key")
	out := command(0, "key", "--network", "regtest", "-o", path)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || !strings.Contains(out, "bcrt1q") {
		t.Errorf("%v, %s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	command(1, "key", "--network", "regtest", "-o", path)
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, text) {
		t.Error("the key was written over")
	}
	command(2, "key", "--network", "dollar", "-o", path+"2")
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer busy.Close()
	out = command(1, "account", "--network", "regtest", "--url", busy.URL, "--key", path)
	if !strings.Contains(out, "busy") || strings.Contains(out, strings.TrimSpace(string(text))) {
		t.Error(out)
	}
	command(2, "extend", "--network", "regtest", "--url", busy.URL, path, "-o", path+"3")
}
