package tsa

import (
	"bytes"
	"context"
	"crypto"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var digest = vaultmesh.Sum([]byte("a checkpoint"))

func TestRequest(t *testing.T) {
	a := newAuthority(t)
	server := httptest.NewServer(a)
	defer server.Close()
	client := &Client{URL: server.URL, Roots: a.Roots(), HTTP: server.Client()}
	reply, ts, err := client.Request(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if ts.Accuracy != time.Second || ts.Time.Location() != time.UTC || !strings.Contains(ts.Signer, "development TSA") || ts.Serial.Sign() <= 0 {
		t.Errorf("stamp %+v", ts)
	}
	if _, err := receipt.VerifyTimestamp(reply, digest, a.Roots()); err != nil {
		t.Error(err)
	}
	if _, err := receipt.VerifyTimestamp(reply, vaultmesh.Sum(nil), a.Roots()); err == nil {
		t.Error("the response verifies over another digest")
	}
	if _, err := receipt.VerifyTimestamp(reply, digest, newAuthority(t).Roots()); err == nil {
		t.Error("the response verifies under another root")
	}
	if _, err := receipt.VerifyTimestamp(reply, digest, nil); err == nil {
		t.Error("the response verifies without a root")
	}
}

// TestEveryByteOfTheTokenCounts flips bytes. The container of CMS has bytes that no signature covers, so a changed
// response may still verify, but never with another time, serial number, nonce or accuracy.
func TestEveryByteOfTheTokenCounts(t *testing.T) {
	a := newAuthority(t)
	server := httptest.NewServer(a)
	defer server.Close()
	reply, want, err := (&Client{URL: server.URL, Roots: a.Roots()}).Request(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	free := 0
	for i := range reply {
		bad := bytes.Clone(reply)
		bad[i] ^= 1 << (i % 8)
		got, err := receipt.VerifyTimestamp(bad, digest, a.Roots())
		if err != nil {
			continue
		}
		free++
		if !got.Time.Equal(want.Time) || got.Serial.Cmp(want.Serial) != 0 || got.Nonce.Cmp(want.Nonce) != 0 || got.Accuracy != want.Accuracy {
			t.Fatalf("byte %d changes what the response says: %+v", i, got)
		}
	}
	t.Logf("%d of %d bytes are of no meaning", free, len(reply))
	if free > len(reply)/10 {
		t.Errorf("%d of %d bytes may change", free, len(reply))
	}
	for n := range reply {
		if _, err := receipt.VerifyTimestamp(reply[:n], digest, a.Roots()); err == nil {
			t.Fatalf("cut to %d bytes, the response verifies", n)
		}
	}
}

// misheard serves what the authority answers to another query than it was asked.
func misheard(t *testing.T, a *Authority, change func(*timestamp.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		req, err := timestamp.ParseRequest(query)
		if err != nil {
			t.Error(err)
			return
		}
		change(req)
		if query, err = req.Marshal(); err != nil {
			t.Error(err)
			return
		}
		reply, err := a.answer(query)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(reply)
	}
}

func TestClientRefuses(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	forward := func(change func(r *timestamp.Request)) http.HandlerFunc { return misheard(t, a, change) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    vaultmesh.Kind
	}{
		"other authority": {other.ServeHTTP, vaultmesh.Denied},
		"old nonce":       {forward(func(r *timestamp.Request) { r.Nonce = big.NewInt(7) }), vaultmesh.Corrupt},
		"no nonce":        {forward(func(r *timestamp.Request) { r.Nonce = nil }), vaultmesh.Corrupt},
		"no certificate":  {forward(func(r *timestamp.Request) { r.Certificates = false }), vaultmesh.Corrupt},
		"other digest":    {forward(func(r *timestamp.Request) { r.HashedMessage = make([]byte, 32) }), vaultmesh.Corrupt},
		"refusal":         {forward(func(r *timestamp.Request) { r.TSAPolicyOID = []int{1, 2, 3} }), vaultmesh.Corrupt},
		"busy":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, vaultmesh.Unavailable},
		"quota":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, vaultmesh.Unavailable},
		"forbidden":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, vaultmesh.Denied},
		"web page":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, vaultmesh.Invalid},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", replyType)
			_, _ = w.Write(make([]byte, maxReply+1))
		}, vaultmesh.TooLarge},
		"rubbish": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", replyType)
			_, _ = io.WriteString(w, "rubbish")
		}, vaultmesh.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			reply, _, err := (&Client{URL: server.URL, Roots: a.Roots(), HTTP: server.Client()}).Request(t.Context(), digest)
			if err == nil || reply != nil || vaultmesh.KindOf(err) != c.kind {
				t.Errorf("got %v of kind %v, want %v", err, vaultmesh.KindOf(err), c.kind)
			}
		})
	}
	if _, _, err := (&Client{URL: "http://127.0.0.1:1", Roots: a.Roots()}).Request(t.Context(), digest); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if _, _, err := (&Client{URL: ":", Roots: a.Roots()}).Request(t.Context(), digest); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no URL: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	_, _, err := (&Client{URL: server.URL, Roots: newAuthority(t).Roots(), Timeout: time.Millisecond}).Request(t.Context(), digest)
	if vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("an authority that hangs: %v", err)
	}
}

func TestServerRefuses(t *testing.T) {
	a := newAuthority(t)
	query := func(change func(r *timestamp.Request)) []byte {
		r := &timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true}
		change(r)
		raw, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := query(func(*timestamp.Request) {})
	for name, c := range map[string]struct {
		method, media string
		body          []byte
		status        int
	}{
		"good":           {"POST", queryType, good, 200},
		"get":            {"GET", queryType, nil, 405},
		"other media":    {"POST", "text/plain", good, 415},
		"no media":       {"POST", "", good, 415},
		"too large":      {"POST", queryType, make([]byte, maxQuery+1), 413},
		"empty":          {"POST", queryType, nil, 200},
		"trailing bytes": {"POST", queryType, append(bytes.Clone(good), 0), 200},
		"sha1":           {"POST", queryType, query(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = crypto.SHA1, digest[:20] }), 200},
		"short digest":   {"POST", queryType, query(func(r *timestamp.Request) { r.HashedMessage = digest[:20] }), 200},
		"long nonce":     {"POST", queryType, query(func(r *timestamp.Request) { r.Nonce = new(big.Int).Lsh(big.NewInt(1), 200) }), 200},
		"policy":         {"POST", queryType, query(func(r *timestamp.Request) { r.TSAPolicyOID = []int{1, 2, 3} }), 200},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(c.method, "/", bytes.NewReader(c.body))
			req.Header.Set("Content-Type", c.media)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, req)
			if w.Code != c.status {
				t.Errorf("status %d, want %d", w.Code, c.status)
			}
			if w.Code != 200 {
				return
			}
			_, err := receipt.VerifyTimestamp(w.Body.Bytes(), digest, a.Roots())
			if (err == nil) != (name == "good") {
				t.Errorf("response: %v", err)
			}
		})
	}
}

func TestAuthorityKeepsItsKeys(t *testing.T) {
	a := newAuthority(t)
	text, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAuthority(text, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(again)
	defer server.Close()
	if _, _, err := (&Client{URL: server.URL, Roots: a.Roots()}).Request(t.Context(), digest); err != nil {
		t.Error(err)
	}
	b, err := newAuthority(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	mixed := append(bytes.Clone(a.RootPEM()), b[bytes.Index(b[1:], []byte("-----BEGIN CERT"))+1:]...)
	for name, bad := range map[string][]byte{"nothing": nil, "root only": a.RootPEM(), "another root": mixed, "key cut off": text[:len(text)-40]} {
		if _, err := ParseAuthority(bad, time.Now); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServe(t *testing.T) {
	defer goleak.VerifyNone(t)
	a := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, a) }()
	transport := &http.Transport{}
	if _, _, err := (&Client{URL: "http://" + l.Addr().String(), Roots: a.Roots(), HTTP: &http.Client{Transport: transport}}).Request(ctx, digest); err != nil {
		t.Error(err)
	}
	transport.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Serve(t.Context(), l, a); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("serving on a closed listener: %v", err)
	}
}

// A verifier refuses a stamp that may be off by more than an hour: receipts might be written for as long after it.
func TestAbsurdAccuracy(t *testing.T) {
	a := newAuthority(t)
	digest := vaultmesh.Sum([]byte("checkpoint"))
	query, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for accuracy, fine := range map[time.Duration]bool{time.Second: true, receipt.MaxAccuracy: true, receipt.MaxAccuracy + time.Microsecond: false, 365 * 24 * time.Hour: false} {
		a.accuracy = accuracy
		reply, err := a.answer(query)
		if err != nil {
			t.Fatal(err)
		}
		ts, err := receipt.VerifyTimestamp(reply, digest, a.Roots())
		if fine && (err != nil || ts.Accuracy != accuracy) || !fine && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %s %v", accuracy, ts.Accuracy, err)
		}
	}
}
