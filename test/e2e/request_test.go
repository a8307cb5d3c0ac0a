package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// denied holds an answer against the status, the kind and a word, and wants it to say what to do.
func denied(t *testing.T, what string, err error, status int, kind, word string) {
	t.Helper()
	p, ok := err.(*rig.Problem)
	if !ok || p.Status != status || p.Kind != kind || !strings.Contains(p.Op+" "+p.Subject+" "+p.Detail, word) {
		t.Errorf("%s: %v, want %d %s with %q", what, err, status, kind, word)
		return
	}
	if status == http.StatusUnauthorized && p.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s: 401 without WWW-Authenticate", what)
	}
}

// narrowed gives a fresh key what g leaves of the client's token.
func narrowed(t *testing.T, c *rig.Client, g capability.Grant) *rig.Client {
	t.Helper()
	parent, err := capability.Parse(c.Token)
	if err != nil {
		t.Fatal(err)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	child, err := capability.Attenuate(parent, c.Key, pub, g)
	if err != nil {
		t.Fatal(err)
	}
	other := *c
	other.Token, other.Key = child.String(), key
	return &other
}

// A request counts only as it was signed, once, and while its token holds.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	agent, operator := s.client(node.DevAgent), s.client(node.DevOperator)
	ctx := bounded(t)
	get := func(c *rig.Client) error { return c.Call(ctx, "GET", "/v1/halt", nil, nil) }
	if err := get(agent); err != nil {
		t.Fatal(err)
	}

	denied(t, "expired token", get(narrowed(t, agent, capability.Grant{Expires: time.Now().Add(-time.Second)})), 401, "expired", "expired")
	denied(t, "token of the future", get(narrowed(t, agent, capability.Grant{NotBefore: time.Now().Add(time.Hour)})), 401, "denied", "not valid")
	// What somebody may not command is decided, recorded and proved like any other command.
	var no control.Command
	err := narrowed(t, agent, capability.Grant{Actions: []capability.Verb{capability.Read}}).Call(ctx, "POST", "/v1/commands",
		map[string]any{"twin": "gen-2", "command": "setVoltage", "args": map[string]any{"perUnit": 1.04}, "idempotency_key": "verb"}, &no)
	if err != nil || no.State != control.Denied || !strings.Contains(no.Reason, "command") {
		t.Errorf("token without the verb: %v, %s %q, want a denied command", err, no.State, no.Reason)
	}

	_, rootKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := *agent
	token, err := capability.Issue(rootKey, agent.Principal, agent.Key.Public().(ed25519.PublicKey), capability.Grant{Actions: []capability.Verb{capability.Read}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	forged.Token = token.String()
	denied(t, "token of a foreign root", get(&forged), 401, "denied", "capability")

	thief := *agent
	_, thief.Key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	denied(t, "token without its key", get(&thief), 401, "denied", "proof")

	first, err := agent.Request(ctx, "GET", "/v1/halt", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Send(first.Clone(ctx)); err != nil {
		t.Fatal(err)
	}
	_, err = agent.Send(first.Clone(ctx))
	denied(t, "replayed proof", err, 401, "denied", "used")

	body := []byte(`{"twin":"gen-2","command":"setVoltage","args":{"perUnit":1.04},"idempotency_key":"tampered"}`)
	r, err := agent.Request(ctx, "POST", "/v1/commands", body)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(body, []byte("1.04"), []byte("1.09"), 1)
	r.Body, r.GetBody = io.NopCloser(bytes.NewReader(other)), nil
	_, err = agent.Send(r)
	denied(t, "tampered body", err, 401, "denied", "proof")

	r, err = agent.Request(ctx, "GET", "/v1/halt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path = "/v1/devices"
	_, err = agent.Send(r)
	denied(t, "other path", err, 401, "denied", "proof")

	r, err = agent.Request(ctx, "GET", "/v1/halt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Del("VaultMesh-Proof")
	_, err = agent.Send(r)
	denied(t, "no proof", err, 401, "denied", "VaultMesh-Proof")

	// Revocation reaches what descends from the block, and nothing else; it holds over a crash.
	child := narrowed(t, agent, capability.Grant{Twins: []string{"gen-*", "*"}})
	grandchild := narrowed(t, child, capability.Grant{})
	if err := get(grandchild); err != nil {
		t.Fatal(err)
	}
	block := lastBlock(t, child, s)
	denied(t, "an agent revokes", agent.Call(ctx, "POST", "/v1/capabilities/revoke", map[string]string{"block": block.String(), "reason": "test"}, nil), 403, "denied", "admin")
	if err := operator.Call(ctx, "POST", "/v1/capabilities/revoke", map[string]string{"block": block.String(), "reason": "test"}, nil); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		denied(t, "revoked token "+when, get(child), 401, "denied", "revoked")
		denied(t, "descendant of a revoked token "+when, get(grandchild), 401, "denied", "revoked")
		if err := get(agent); err != nil {
			t.Errorf("the parent of a revoked token %s: %v", when, err)
		}
	}
	check("at once")
	p.Kill()
	p = s.start()
	check("after a crash")
	s.stop(p)
}

// lastBlock is the digest that names the client's own block.
func lastBlock(t *testing.T, c *rig.Client, s *site) vaultmesh.Digest {
	t.Helper()
	a, err := rig.NewAuditor(s.cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	token, err := capability.Parse(c.Token)
	if err != nil {
		t.Fatal(err)
	}
	v, err := capability.Verify(token, a.Trust().CapabilityRoots[0].Public, time.Now(), c.Domain)
	if err != nil {
		t.Fatal(err)
	}
	return v.Digest()
}

// A body that is not exactly one object of the documented form is refused before anything is asked.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	agent := s.client(node.DevAgent)
	const good = `"twin":"gen-2","command":"setVoltage","idempotency_key":"k"`
	tests := []struct {
		name, body string
		status     int
		word       string
	}{
		{"empty", ``, 415, ""},
		{"no object", `[1]`, 400, "no JSON object"},
		{"unknown member", `{` + good + `,"force":true}`, 400, "force"},
		{"duplicate member", `{` + good + `,"twin":"gen-3"}`, 400, ""},
		{"other spelling", `{"Twin":"gen-2","command":"setVoltage","idempotency_key":"k"}`, 400, "Twin"},
		{"invalid UTF-8", "{" + good + ",\"reason\":\"\xff\"}", 400, "UTF-8"},
		{"too deep", `{` + good + `,"args":` + strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 64) + `}`, 413, ""},
		{"too large", `{` + good + `,"reason":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "bytes"},
		{"NaN", `{` + good + `,"args":{"perUnit":NaN}}`, 400, ""},
		{"wrong type of an argument", `{` + good + `,"args":{"perUnit":"high"}}`, 400, "model"},
		{"unknown twin", `{"twin":"gen-99","command":"setVoltage","idempotency_key":"k"}`, 404, "no such twin"},
		{"unknown command", `{"twin":"gen-2","command":"explode","idempotency_key":"k"}`, 400, "no such command"},
	}
	for _, tt := range tests {
		r, err := agent.Request(bounded(t), "POST", "/v1/commands", []byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		_, err = agent.Send(r)
		p, ok := err.(*rig.Problem)
		if !ok || p.Status != tt.status || !strings.Contains(p.Detail, tt.word) {
			t.Errorf("%s: %v, want %d with %q", tt.name, err, tt.status, tt.word)
		}
	}
	var list struct{ Commands []json.RawMessage }
	if err := agent.Call(bounded(t), "GET", "/v1/commands", nil, &list); err != nil || len(list.Commands) != 0 {
		t.Errorf("commands came of it: %d %v", len(list.Commands), err)
	}
}
