package tsa

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/test/peers"
)

// anchored has a fresh log's checkpoint anchored at the targets and returns the engine, the jobs as they ended, and the
// checkpoint's body.
func anchored(t *testing.T, targets ...*Target) (*anchor.Engine, []anchor.Job, []byte) {
	t.Helper()
	l := logs.Open(t, t.TempDir())
	l.Grow(t, 3)
	o := anchor.Options{Log: l.Log, Journal: l.J, Actor: "node:test", Logger: slog.New(slog.DiscardHandler), RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond, Refusals: 2}
	for _, x := range targets {
		o.Plans = append(o.Plans, anchor.Plan{Target: x})
	}
	e, err := anchor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		_ = l.J.Close()
	})
	body, err := receipt.CheckpointBody(l.Checkpoint().Note)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := e.Request(t.Context(), anchor.Request{By: "operator:ada"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		// Failed, final, or tried three times: what is retryable is tried for a day.
		within, enough := context.WithTimeout(t.Context(), 30*time.Second)
		jobs[i], err = e.Wait(within, jobs[i].ID, anchor.Final, func(j anchor.Job) {
			if j.Attempts >= 3 {
				enough()
			}
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		enough()
	}
	return e, jobs, body
}

// Several authorities stamp the same checkpoint: a good one, and every kind of bad one. Only the good one anchors.
func TestBadAuthoritiesNeverAnchor(t *testing.T) {
	good := newAuthority(t)
	lie := func(change func(r *timestamp.Request)) http.HandlerFunc { return misheard(t, good, change) }
	at := func(issued, stamped time.Duration) *Authority {
		clock := time.Now().Add(issued)
		a, err := NewAuthority(func() time.Time { return clock })
		if err != nil {
			t.Fatal(err)
		}
		clock = time.Now().Add(stamped)
		return a
	}
	const year = 365 * 24 * time.Hour
	expired, backdated, early, late := at(-11*year, 0), at(-11*year, -9*year), at(-year, -10*time.Minute), at(-year, 10*time.Minute)
	vague, absurd := newAuthority(t), newAuthority(t)
	vague.accuracy, absurd.accuracy = time.Minute+time.Second, receipt.MaxAccuracy+time.Second
	for name, c := range map[string]struct {
		handler   http.Handler
		authority *Authority // whose root is pinned
		failed    bool       // it is given up; else it is tried for as long as it may come back
	}{
		"wrong nonce":            {lie(func(r *timestamp.Request) { r.Nonce = r.Nonce.Add(r.Nonce, r.Nonce) }), good, true},
		"no nonce":               {lie(func(r *timestamp.Request) { r.Nonce = nil }), good, true},
		"wrong imprint":          {lie(func(r *timestamp.Request) { r.HashedMessage[5] ^= 1 }), good, true},
		"no certificate":         {lie(func(r *timestamp.Request) { r.Certificates = false }), good, true},
		"another root":           {newAuthority(t), good, true},
		"expired chain":          {expired, expired, true},
		"expired and back-dated": {backdated, backdated, true},
		"behind":                 {early, early, true},
		"vague":                  {vague, vague, true},
		"absurdly vague":         {absurd, absurd, true},
		"ahead":                  {late, late, true},
		"forbids":                {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), good, true},
		"is busy":                {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), good, false},
		"hangs": {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client went away
			<-r.Context().Done()
		}), good, false},
		"breaks off": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", replyType)
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(make([]byte, 10))
		}), good, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, fine := httptest.NewServer(c.handler), httptest.NewServer(good)
			t.Cleanup(bad.Close)
			t.Cleanup(fine.Close)
			e, jobs, body := anchored(t,
				&Target{Authority: "bad", Client: &Client{URL: bad.URL, Roots: c.authority.Roots(), HTTP: bad.Client(), Timeout: 300 * time.Millisecond}},
				&Target{Authority: "good", Client: &Client{URL: fine.URL, Roots: good.Roots(), HTTP: fine.Client()}})
			want := anchor.Queued
			if c.failed {
				want = anchor.Failed
			}
			if j := jobs[0]; j.State != want || len(j.Proof) > 0 || !j.Proved.IsZero() || j.Detail == "" {
				t.Errorf("%+v", j)
			}
			if j := jobs[1]; j.State != anchor.Final || j.Digest != vaultmesh.Sum(body) {
				t.Errorf("the good authority: %+v", j)
			}
			a, err := e.AnchorsCovering(0)
			if err != nil || len(a) != 1 || a[0].Target != "rfc3161/good" {
				t.Errorf("anchors %v %v", a, err)
			}
		})
	}
}

// OpenSSL verifies what the engine stored, over the checkpoint's body and not over another.
func TestOpenSSLVerifiesAnAnchor(t *testing.T) {
	b := newBench(t)
	a := newAuthority(t)
	server := httptest.NewServer(a)
	defer server.Close()
	_, jobs, body := anchored(t, &Target{Authority: "own", Client: &Client{URL: server.URL, Roots: a.Roots()}})
	b.write("root.pem", a.RootPEM())
	verifiedByOpenSSL(b, jobs[0], body)
}

func verifiedByOpenSSL(b bench, j anchor.Job, body []byte) {
	b.Helper()
	if j.State != anchor.Final {
		b.Fatalf("%+v", j)
	}
	b.write("body", body)
	b.write("other", append(bytes.Clone(body), '\n'))
	b.write("anchor.tsr", j.Proof)
	b.must("ts", "-verify", "-data", "body", "-in", "anchor.tsr", "-CAfile", "root.pem")
	if out, err := b.openssl("ts", "-verify", "-data", "other", "-in", "anchor.tsr", "-CAfile", "root.pem"); err == nil {
		b.Errorf("openssl takes the stamp for other data: %s", out)
	}
}

// Sigstore's timestamp-server stamps our checkpoint; openssl verifies our anchor, and our verifier what openssl asked it for.
func TestSigstoreAuthority(t *testing.T) {
	b := newBench(t)
	bin := peers.TimestampServer(t)
	a := newAuthority(t) // lends its certificates
	text, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	b.write("key.pem", text[bytes.Index(text, []byte("-----BEGIN PRIVATE KEY")):])
	b.write("chain.pem", append(certPEM(a.signer), certPEM(a.root)...))
	b.write("root.pem", a.RootPEM())
	port := peers.Port(t)
	cmd := exec.Command(bin, "serve", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--timestamp-signer", "file", "--file-signer-key-path", b.path("key.pem"), "--file-signer-passwd", "",
		"--certificate-chain-path", b.path("chain.pem"), "--disable-ntp-monitoring")
	cmd.Dir = b.dir
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	p := peers.Start(t, cmd, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, "GET", base+"/ping", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	target := &Target{Authority: "sigstore", Client: &Client{URL: base + "/api/v1/timestamp", Roots: a.Roots(), HTTP: client}}
	_, jobs, body := anchored(t, target)
	verifiedByOpenSSL(b, jobs[0], body)

	b.must("ts", "-query", "-data", "body", "-sha256", "-cert", "-out", "q.tsq")
	query, err := os.ReadFile(b.path("q.tsq"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post(target.Client.URL, queryType, bytes.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.VerifyTimestamp(reply, vaultmesh.Sum(body), a.Roots()); err != nil {
		t.Error(err)
	}
	b.write("r.tsr", reply)
	b.must("ts", "-verify", "-queryfile", "q.tsq", "-in", "r.tsr", "-CAfile", "root.pem")

	// It stops answering in the middle of the work, and comes back.
	p.Pause()
	slow := &Target{Authority: "sigstore", Client: &Client{URL: target.Client.URL, Roots: a.Roots(), HTTP: client, Timeout: 100 * time.Millisecond}}
	_, jobs, _ = anchored(t, slow)
	if j := jobs[0]; j.State != anchor.Queued || j.Attempts < 3 {
		t.Errorf("while it sleeps: %+v", j)
	}
	p.Resume()
	if _, jobs, _ = anchored(t, target); jobs[0].State != anchor.Final {
		t.Errorf("after it woke: %+v", jobs[0])
	}
}
