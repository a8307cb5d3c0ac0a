package tsa

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// bench is a folder in which openssl runs.
type bench struct {
	*testing.T
	dir string
}

func newBench(t *testing.T) bench {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: the round trips with a foreign implementation were not run")
	}
	return bench{t, t.TempDir()}
}

func (b bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b bench) write(name string, data []byte) {
	b.Helper()
	if err := os.WriteFile(b.path(name), data, 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b bench) openssl(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(b.Context(), "openssl", args...)
	cmd.Dir = b.dir
	return cmd.CombinedOutput()
}

func (b bench) must(args ...string) []byte {
	b.Helper()
	out, err := b.openssl(args...)
	if err != nil {
		b.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return out
}

// TestOpenSSLAsClient has openssl make the query and verify our authority's response.
func TestOpenSSLAsClient(t *testing.T) {
	b := newBench(t)
	a := newAuthority(t)
	server := httptest.NewServer(a)
	defer server.Close()
	b.write("checkpoint", []byte("vaultmesh.test/dev\n13\nroot\n"))
	b.write("other", []byte("vaultmesh.test/dev\n14\nroot\n"))
	b.write("root.pem", a.RootPEM())
	b.write("wrong.pem", newAuthority(t).RootPEM())
	b.must("ts", "-query", "-data", "checkpoint", "-sha256", "-cert", "-out", "q.tsq")
	query, err := os.ReadFile(b.path("q.tsq"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Post(server.URL, queryType, bytes.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	b.write("r.tsr", reply)
	b.must("ts", "-verify", "-data", "checkpoint", "-in", "r.tsr", "-CAfile", "root.pem")
	b.must("ts", "-verify", "-queryfile", "q.tsq", "-in", "r.tsr", "-CAfile", "root.pem")
	if out, err := b.openssl("ts", "-verify", "-data", "other", "-in", "r.tsr", "-CAfile", "root.pem"); err == nil {
		t.Errorf("openssl takes the response for other data: %s", out)
	}
	if out, err := b.openssl("ts", "-verify", "-data", "checkpoint", "-in", "r.tsr", "-CAfile", "wrong.pem"); err == nil {
		t.Errorf("openssl takes the response under another root: %s", out)
	}
}

// TestOpenSSLAsAuthority has our client ask an authority that is openssl.
func TestOpenSSLAsAuthority(t *testing.T) {
	b := newBench(t)
	a := newAuthority(t) // lends its certificates; openssl does the stamping
	text, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	b.write("root.pem", a.RootPEM())
	b.write("signer.pem", certPEM(a.signer))
	b.write("key.pem", text[bytes.Index(text, []byte("-----BEGIN PRIVATE KEY")):])
	b.write("serial", []byte("01\n"))
	config := func(essCertID string) []byte {
		return []byte("[tsa]\nserial = serial\ncrypto_device = builtin\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256\naccuracy = secs:1\nordering = no\ntsa_name = yes\ness_cert_id_chain = no\ness_cert_id_alg = " + essCertID + "\n")
	}
	b.write("tsa.cnf", config("sha256"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(b.path("q.tsq"), query, 0o600)
		}
		if err != nil {
			t.Error(err)
			return
		}
		out, err := b.openssl("ts", "-reply", "-config", "tsa.cnf", "-section", "tsa", "-queryfile", "q.tsq", "-signer", "signer.pem", "-inkey", "key.pem", "-out", "r.tsr")
		if err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		reply, err := os.ReadFile(b.path("r.tsr"))
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(reply)
	}))
	defer server.Close()
	client := &Client{URL: server.URL, Roots: a.Roots()}
	data := []byte("a checkpoint that openssl stamps")
	reply, _, err := client.Request(t.Context(), vaultmesh.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	b.write("checkpoint", data)
	b.write("kept.tsr", reply)
	b.must("ts", "-verify", "-data", "checkpoint", "-in", "kept.tsr", "-CAfile", "root.pem")
	bad := bytes.Clone(reply)
	bad[len(bad)-1] ^= 1 // the last byte of the signature
	if _, err := receipt.VerifyTimestamp(bad, vaultmesh.Sum(data), a.Roots()); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a changed signature: %v", err)
	}
	b.write("tsa.cnf", config("sha1"))
	if _, _, err := client.Request(t.Context(), vaultmesh.Sum(data)); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a certificate named by SHA-1: %v", err)
	}
}
