package signer_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/signer"
)

func secretFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sound checks what every key must do.
func sound(t *testing.T, k signer.Key) {
	t.Helper()
	for i := range 5 {
		m := fmt.Appendf(nil, "message %d %s", i, strings.Repeat("x", i*1000))
		s, err := k.Sign(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if !ed25519.Verify(k.Public(), m, s) {
			t.Fatal("the signature does not verify")
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := k.Sign(t.Context(), []byte("at once")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if k.Where() == "" || len(k.Public()) != 32 {
		t.Error("it does not say where or what it is")
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestFileKey(t *testing.T) {
	seed := base64.StdEncoding.EncodeToString(make([]byte, 32))
	k, err := signer.Open(t.Context(), signer.Config{Provider: "file", Key: secretFile(t, "root.key", seed)})
	if err != nil {
		t.Fatal(err)
	}
	sound(t, k)
	open := secretFile(t, "root.key", seed)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		c    signer.Config
		kind vaultmesh.Kind
	}{
		"absent":     {signer.Config{Provider: "file", Key: filepath.Join(t.TempDir(), "x")}, vaultmesh.Unavailable},
		"short":      {signer.Config{Provider: "file", Key: secretFile(t, "k", "AAAA")}, vaultmesh.Corrupt},
		"not base64": {signer.Config{Provider: "file", Key: secretFile(t, "k", "!")}, vaultmesh.Corrupt},
		"readable":   {signer.Config{Provider: "file", Key: open}, vaultmesh.Denied},
		"a folder":   {signer.Config{Provider: "file", Key: t.TempDir()}, vaultmesh.Invalid},
		"unknown":    {signer.Config{Provider: "drawer"}, vaultmesh.Invalid},
	} {
		if _, err := signer.Open(t.Context(), c.c); vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want kind %s", name, err, c.kind)
		}
	}
}

// transit speaks the documented shapes of Vault's transit engine (GET /v1/<mount>/keys/<name>, PUT
// /v1/<mount>/sign/<name>). It is not Vault: what it does not check, these tests do not prove.
type transit struct {
	mu      sync.Mutex
	keys    []ed25519.PrivateKey // versions 1, 2, …
	token   string
	kind    string
	instead func(w http.ResponseWriter, r *http.Request) bool // true: answered
	space   string
}

func newTransit(token string) *transit {
	return &transit{keys: []ed25519.PrivateKey{ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", 32)))}, token: token, kind: "ed25519"}
}

func (v *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	say := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	if v.instead != nil && v.instead(w, r) {
		return
	}
	v.space = r.Header.Get("X-Vault-Namespace")
	if r.Header.Get("X-Vault-Token") != v.token || r.Header.Get("X-Vault-Request") != "true" {
		say(403, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	versions := map[string]any{}
	for i, k := range v.keys {
		versions[fmt.Sprint(i+1)] = map[string]any{"creation_time": "2026-01-01T00:00:00Z", "name": "ed25519", "public_key": base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey))}
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/transit/keys/root":
		say(200, map[string]any{"request_id": "1", "data": map[string]any{"type": v.kind, "latest_version": len(v.keys), "derived": false, "exportable": false, "keys": versions, "name": "root", "supports_signing": true}})
	case "PUT /v1/transit/sign/root", "POST /v1/transit/sign/root":
		var in struct {
			Input   string `json:"input"`
			Version int    `json:"key_version"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Version < 0 || in.Version > len(v.keys) {
			say(400, map[string]any{"errors": []string{"bad request"}})
			return
		}
		m, err := base64.StdEncoding.DecodeString(in.Input)
		if err != nil {
			say(400, map[string]any{"errors": []string{"unable to decode input"}})
			return
		}
		if in.Version == 0 {
			in.Version = len(v.keys)
		}
		s := ed25519.Sign(v.keys[in.Version-1], m)
		say(200, map[string]any{"request_id": "2", "data": map[string]any{"key_version": in.Version, "signature": fmt.Sprintf("vault:v%d:%s", in.Version, base64.StdEncoding.EncodeToString(s))}})
	default:
		say(404, map[string]any{"errors": []string{}})
	}
}

func TestVaultTransit(t *testing.T) {
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1") // the environment must not decide
	t.Setenv("VAULT_TOKEN", "of somebody else")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	v := newTransit("s.right")
	web := httptest.NewServer(v)
	defer web.Close()
	token := secretFile(t, "token", "s.right")
	c := signer.Config{Provider: "vault", Address: web.URL, Key: "root", TokenFile: token, Timeout: 5 * time.Second}
	open := func() signer.Key {
		t.Helper()
		k, err := signer.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sound(t, open())
	if v.space != "" {
		t.Errorf("namespace %q of the environment was sent", v.space)
	}
	c.Namespace = "grid/"
	open()
	if v.space != "grid" && v.space != "grid/" {
		t.Errorf("namespace %q", v.space)
	}
	c.Namespace = ""
	// A rotation in Vault does not change who signs here.
	k := open()
	v.keys = append(v.keys, ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", 32))))
	sound(t, k)
	if again := open(); again.Public().Equal(k.Public()) {
		t.Error("a new start does not see the new version")
	}
	// The token is read again: an agent renews it.
	k = open()
	v.token = "s.next"
	if _, err := k.Sign(t.Context(), []byte("m")); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("an old token: %v", err)
	} else if strings.Contains(err.Error(), "s.right") {
		t.Errorf("the error holds the token: %v", err)
	}
	if err := os.WriteFile(token, []byte("s.next"), 0o600); err != nil {
		t.Fatal(err)
	}
	sound(t, open())
	data := func(signature string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"signature": signature}})
			return true
		}
	}
	other := base64.StdEncoding.EncodeToString(ed25519.Sign(v.keys[0], []byte("another message")))
	for name, x := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   vaultmesh.Kind
	}{
		"sealed": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(503)
			fmt.Fprint(w, `{"errors":["Vault is sealed"]}`)
			return true
		}, vaultmesh.Unavailable},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true }, vaultmesh.Unavailable},
		"redirect": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
			return true
		}, vaultmesh.Unavailable},
		"no signature":    {data(""), vaultmesh.Corrupt},
		"other version":   {data("vault:v1:" + other), vaultmesh.Corrupt},
		"other signature": {data("vault:v2:" + other), vaultmesh.Corrupt},
		"other form":      {data("vault:v2:!!"), vaultmesh.Corrupt},
		"short":           {data("vault:v2:AAAA"), vaultmesh.Corrupt},
	} {
		k := open()
		v.mu.Lock()
		v.instead = x.answer
		v.mu.Unlock()
		if _, err := k.Sign(t.Context(), []byte("m")); err == nil || vaultmesh.KindOf(err) != x.kind {
			t.Errorf("%s: %v, want kind %s", name, err, x.kind)
		}
		v.mu.Lock()
		v.instead = nil
		v.mu.Unlock()
	}
	k = open()
	release := make(chan struct{})
	v.mu.Lock()
	v.instead = func(_ http.ResponseWriter, r *http.Request) bool { <-release; return true }
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, err := k.Sign(ctx, []byte("m")); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("a Vault that hangs: %v", err)
	}
	cancel()
	close(release)
	v.mu.Lock()
	v.instead, v.kind = nil, "ecdsa-p256"
	v.mu.Unlock()
	if _, err := signer.Open(t.Context(), c); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a key of another type: %v", err)
	}
	c.Key = "missing"
	if _, err := signer.Open(t.Context(), c); vaultmesh.KindOf(err) != vaultmesh.NotFound && vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no such key: %v", err)
	}
	for _, addr := range []string{"http://vault.example:8200", "vault.example:8200", "", "ftp://127.0.0.1", "https://hidden:hunter2@127.0.0.1:1", "http://127.0.0.1:1?key=hunter2", "http://hidden:hunter2@[::1"} {
		c.Address = addr
		if _, err := signer.Open(t.Context(), c); vaultmesh.KindOf(err) != vaultmesh.Invalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

// A redirect is not followed: the token would be given to whoever it names.
func TestVaultDoesNotFollow(t *testing.T) {
	var asked atomic.Int32
	elsewhere := newTransit("s.right")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		elsewhere.ServeHTTP(w, r)
	}))
	defer other.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, status) }))
		k, err := signer.Open(t.Context(), signer.Config{Provider: "vault", Address: web.URL, Key: "root", TokenFile: secretFile(t, "token", "s.right"), Timeout: 5 * time.Second})
		if err == nil {
			t.Errorf("%d: opened %s", status, k.Where())
		}
		web.Close()
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("another server was asked %d times", n)
	}
}
