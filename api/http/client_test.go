package httpapi

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// must fails on an error and returns the value.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Every route is reached by the typed client, and what a service returned arrives unchanged.
func TestClientRoundTrip(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	_, base := serve(t, o)
	c := client(t, base, "operator")
	ctx := t.Context()

	for _, err := range []error{c.Health(ctx), c.Ready(ctx)} {
		if err != nil {
			t.Error(err)
		}
	}
	page := must(c.Twins(ctx, TwinQuery{Model: "dtmi:test:Line;1", Device: "sub-1", Prefix: "line", After: "line-1-2", Limit: 1}))(t)
	if len(page.Twins) != 1 || page.Twins[0].ID != "line-2-3" || page.Next != "line-2-3" {
		t.Error(page)
	}
	if x := must(c.Twin(ctx, "bus-1"))(t); x.Version != 7 || x.Telemetry["loading"].Q != w.twins["bus-1"].Telemetry["loading"].Q || !x.Seen.Equal(epoch) {
		t.Error(x)
	}
	if h := must(c.History(ctx, "bus-1", HistoryQuery{Name: "loading", From: epoch.Add(-time.Hour), To: epoch, Limit: 2}))(t); len(h.Points) != 2 || !h.More {
		t.Error(h)
	}
	p := control.Proposal{Twin: "bus-1", Command: "trip", Args: json.RawMessage(`{"x":"<&>"}`), IdempotencyKey: "k-1", Reason: "a test"}
	cmd := must(c.Propose(ctx, p))(t)
	if cmd.Replayed || string(cmd.Args) != `{"x":"<&>"}` || w.lastCall.Principal != "operator:operator" || w.lastCall.Token != token(t, "operator") || w.lastCall.Proof == "" ||
		w.lastCall.Target == nil || vaultmesh.Sum(w.lastCall.Target.Request) != w.lastCall.Target.Body {
		t.Errorf("%+v %+v", cmd, w.lastCall)
	}
	if again := must(c.Propose(ctx, p))(t); !again.Replayed || again.ID != cmd.ID {
		t.Error(again)
	}
	if v := must(c.Simulate(ctx, p, true))(t); v.Query.N1 != true || v.Checked != 3 || len(v.New) != 1 {
		t.Error(v)
	}
	if l := must(c.List(ctx, control.Filter{State: control.AwaitingApproval, Twin: "bus-1", Principal: "operator:operator", Limit: 5}))(t); len(l) != 1 {
		t.Error(l)
	}
	ch := must(c.Challenge(ctx, cmd.ID))(t)
	approval := control.Approval{Key: receipt.KeyID(public(key("operator"))), Signature: receipt.SignApproval(key("operator"), ch)}
	if a := must(c.Approve(ctx, cmd.ID, approval))(t); a.State != control.Approved || a.Approvals[0].Approver != "operator:operator" || !a.Approvals[0].Time.Equal(epoch) {
		t.Error(a)
	}
	if got := must(c.Command(ctx, cmd.ID))(t); got.State != control.Approved || !got.Proposed.Equal(epoch) || len(got.History) != 1 {
		t.Error(got)
	}
	_, err := c.Reject(ctx, cmd.ID, "late")
	wantError(t, err, vaultmesh.Conflict, "it is approved")
	_, err = c.Cancel(ctx, cmd.ID, "late")
	wantError(t, err, vaultmesh.Conflict)
	if b := must(c.Bundle(ctx, cmd.ID))(t); string(b) != `{"bundle":true}` {
		t.Error(string(b))
	}
	if b := must(c.Bundle(ctx, cmd.ID, cmd.ID))(t); string(b) != `{"bundle":true}` {
		t.Error(string(b))
	}
	if h := must(c.Halt(ctx, "storm"))(t); !h.Halted || h.Reason != "storm" {
		t.Error(h)
	}
	if h := must(c.HaltState(ctx))(t); !h.Halted || !h.Since.Equal(epoch) {
		t.Error(h)
	}
	if h := must(c.Resume(ctx, "storm & hail are over"))(t); h.Halted || h.Reason != "storm & hail are over" {
		t.Error(h)
	}
	r := must(c.Receipt(ctx, 3))(t)
	if string(r.Envelope) != string(w.envelopes[3]) || r.Index != 3 {
		t.Error("the envelope changed on its way")
	}
	if opened := must(receipt.Open(r.Envelope))(t); opened.Outcome != "a<b & c" {
		t.Error(opened.Outcome)
	}
	if l := must(c.Receipts(ctx, receipt.HaltSubject(domain), 1, 2))(t); len(l.Receipts) != 2 || l.Next == nil || *l.Next != 3 {
		t.Error(l)
	}
	if b := must(c.Checkpoint(ctx))(t); !strings.HasPrefix(string(b), "dev\n5\n") {
		t.Error(string(b))
	}
	if l := must(c.Inclusion(ctx, 4, 5))(t); len(l) != 1 || l[0] != vaultmesh.Sum(nil) {
		t.Error(l)
	}
	if l := must(c.Consistency(ctx, 1, 5))(t); len(l) != 0 {
		t.Error(l)
	}
	if b := must(c.Tile(ctx, "tile/0/000.p/5"))(t); len(b) != 3 {
		t.Error(b)
	}
	if l := must(c.Devices(ctx))(t); len(l) != 1 || l[0].Accepted != 3 {
		t.Error(l)
	}
	if l := must(c.Refusals(ctx, "sub-1", 1))(t); len(l) != 1 {
		t.Error(l)
	}
	if x := must(c.Revoke(ctx, vaultmesh.Sum([]byte("block")), "lost"))(t); x.Receipt.Index != 4 {
		t.Error(x)
	}
	if b := must(c.OpenAPI(ctx))(t); string(b) != string(OpenAPI) {
		t.Error("another contract")
	}
	if b := must(c.Metrics(ctx))(t); !strings.Contains(string(b), "vaultmesh_http_requests_total") {
		t.Error(string(b))
	}
	_, err = c.Twin(ctx, "bus-99")
	wantError(t, err, vaultmesh.NotFound, "twin bus-99: there is no such twin", "list the twins to see their identifiers")
}

func TestClientConfig(t *testing.T) {
	good := Config{BaseURL: "https://node:8443", Domain: domain, Token: "t", Key: key("operator")}
	for name, x := range map[string]struct {
		spoil func(*Config)
		kind  vaultmesh.Kind
	}{
		"no address":         {func(c *Config) { c.BaseURL = "node" }, vaultmesh.Invalid},
		"another scheme":     {func(c *Config) { c.BaseURL = "ftp://node" }, vaultmesh.Invalid},
		"a password":         {func(c *Config) { c.BaseURL = "https://me:secret@node" }, vaultmesh.Invalid},
		"a token in clear":   {func(c *Config) { c.BaseURL = "http://node" }, vaultmesh.Denied},
		"no key":             {func(c *Config) { c.Key = nil }, vaultmesh.Invalid},
		"half a key":         {func(c *Config) { c.Key = c.Key[:32] }, vaultmesh.Invalid},
		"a proof for nobody": {func(c *Config) { c.Domain = "" }, vaultmesh.Invalid},
	} {
		c := good
		x.spoil(&c)
		if _, err := NewClient(c); vaultmesh.KindOf(err) != x.kind || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewClient(good); err != nil {
		t.Error(err)
	}
}

// What is no VaultMesh node, or lies, gives an error that says so.
func TestClientAgainstOthers(t *testing.T) {
	var answer func(http.ResponseWriter, *http.Request)
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	c := client(t, hs.URL, "operator")
	status := func(code int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, body) }
	}
	for _, x := range []struct {
		answer func(http.ResponseWriter, *http.Request)
		kind   vaultmesh.Kind
		words  string
	}{
		{status(200, "<html>"), vaultmesh.Corrupt, "cannot be read"},
		{status(200, `{"index":"0","leaf":"`+vaultmesh.Sum(nil).String()+`","envelope":"AAAA"}`), vaultmesh.Corrupt, "not that of the envelope"},
		{status(502, "bad gateway"), vaultmesh.Unavailable, "without a problem document"},
		{status(404, "none"), vaultmesh.NotFound, "status 404"},
		{status(401, ""), vaultmesh.Denied, "status 401"},
		{status(409, ""), vaultmesh.Conflict, "status 409"},
		{status(418, ""), vaultmesh.Invalid, "status 418"},
		{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere/", http.StatusFound)
		}, vaultmesh.Invalid, "status 302"},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("x"))
		}, vaultmesh.Unavailable, "broke off"},
	} {
		answer = x.answer
		_, err := c.Receipt(t.Context(), 0)
		wantError(t, err, x.kind, x.words)
	}
	answer = status(404, "none")
	_, err := c.Feed(t.Context(), FeedQuery{})
	wantError(t, err, vaultmesh.NotFound)
	hs.Close()
	_, err = c.Receipt(t.Context(), 0)
	wantError(t, err, vaultmesh.Unavailable, "cannot be asked")
	_, err = c.Feed(t.Context(), FeedQuery{})
	wantError(t, err, vaultmesh.Unavailable)
	_, err = c.HTTP().Get("http://elsewhere.invalid/")
	wantError(t, err, vaultmesh.Denied, "the token is for")
}

// failing breaks off.
type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

func TestTransportErrors(t *testing.T) {
	tr := &Transport{Base: http.DefaultTransport, Domain: domain, Token: "t", Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Host: "node", Now: time.Now, Random: strings.NewReader("")}
	r := httptest.NewRequest("POST", "https://node/", failing{errors.New("gone")})
	_, err := tr.RoundTrip(r)
	wantError(t, err, vaultmesh.Invalid, "gone")
	_, err = tr.RoundTrip(httptest.NewRequest("GET", "https://node/", nil))
	wantError(t, err, vaultmesh.Internal, "no randomness")
}
