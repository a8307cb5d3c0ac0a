package httpapi

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// exchange is one request of a script and what is expected of its answer. A script is read as follows:
//
//	# a comment
//	-- a title
//	> METHOD /path as NAME        NAME is a token of grants, or nobody
//	> Header: value               VaultMesh-… headers given here replace those that would be made
//	> !proof HOW                  none, other-body, other-path, other-method, other-domain, other-key, old, early, again
//	> {"body": "…"}               the first line that begins with { [ " or = (a raw body: $N stands for N bytes)
//	< 200                         the status, then what must be there: a header line, or a part of the body;
//	< ! words                     or what must not be in the body
type exchange struct {
	title, method, path, as, proof string
	header                         http.Header
	body                           []byte
	hasBody                        bool
	status                         int
	want, wantNot                  []string
}

func readScript(t *testing.T, file string) []exchange {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	for n, line := range strings.Split(string(raw), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		if mark == "--" {
			all = append(all, exchange{title: rest, header: http.Header{}})
			continue
		}
		if len(all) == 0 {
			t.Fatalf("%s:%d: nothing has a title yet", file, n+1)
		}
		x := &all[len(all)-1]
		switch {
		case mark == ">" && x.method == "":
			if _, err := fmt.Sscanf(rest, "%s %s as %s", &x.method, &x.path, &x.as); err != nil {
				t.Fatalf("%s:%d: %v", file, n+1, err)
			}
		case mark == ">" && strings.HasPrefix(rest, "!proof "):
			x.proof = strings.TrimPrefix(rest, "!proof ")
		case mark == ">" && strings.ContainsAny(rest[:1], `{["=`):
			x.hasBody = true
			x.body = []byte(strings.TrimPrefix(rest, "="))
			var size int
			if _, err := fmt.Sscanf(rest, "=$%d", &size); err == nil {
				x.body = []byte(`{"reason":"` + strings.Repeat("x", size) + `"}`)
			}
			x.body = bytes.ReplaceAll(x.body, []byte(`\xff`), []byte{0xff})
		case mark == ">":
			name, value, ok := strings.Cut(rest, ": ")
			if !ok {
				t.Fatalf("%s:%d: no header", file, n+1)
			}
			x.header.Add(name, value)
		case mark == "<" && x.status == 0:
			if _, err := fmt.Sscanf(rest, "%d", &x.status); err != nil {
				t.Fatalf("%s:%d: %v", file, n+1, err)
			}
		case mark == "<" && strings.HasPrefix(rest, "! "):
			x.wantNot = append(x.wantNot, rest[2:])
		case mark == "<":
			x.want = append(x.want, rest)
		default:
			t.Fatalf("%s:%d: %q", file, n+1, line)
		}
	}
	return all
}

// request builds the HTTP request of x; last is the proof of the request before.
func (x *exchange) request(t *testing.T, base string, last *string) *http.Request {
	t.Helper()
	var body io.Reader
	if x.hasBody {
		body = bytes.NewReader(x.body)
	}
	r, err := http.NewRequest(x.method, base+x.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if x.hasBody && x.method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	if x.as != "nobody" {
		r.Header.Set(CapabilityHeader, token(t, x.as))
		target := capability.Target{Domain: domain, Method: x.method, Path: r.URL.RequestURI(), Body: vaultmesh.Sum(x.body)}
		signer, at := key(x.as), epoch
		switch x.proof {
		case "other-body":
			target.Body = vaultmesh.Sum([]byte("another"))
		case "other-path":
			target.Path += "x"
		case "other-method":
			target.Method = "PATCH"
		case "other-domain":
			target.Domain = "elsewhere"
		case "other-key":
			signer = key("thief")
		case "old":
			at = at.Add(-31 * time.Second)
		case "early":
			at = at.Add(31 * time.Second)
		}
		switch x.proof {
		case "none":
		case "again":
			r.Header.Set(ProofHeader, *last)
		default:
			*last = proof(signer, target, at)
			r.Header.Set(ProofHeader, *last)
		}
	}
	for name, v := range x.header {
		r.Header[http.CanonicalHeaderKey(name)] = v
	}
	return r
}

var nonces int

// proof makes a proof with a nonce of its own. Tests that use it do not run in parallel.
func proof(signer ed25519.PrivateKey, target capability.Target, at time.Time) string {
	nonces++
	return capability.SignProof(signer, target, at, fmt.Sprintf("nonce-%016d", nonces))
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	spec := loadSpec(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			w := newWorld(t)
			o := options(t, w)
			o.LogFrom = Loopback()
			o.Gatherer = nil
			_, base := serve(t, o)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			var last string
			for _, x := range readScript(t, file) {
				resp, err := transport.RoundTrip(x.request(t, base, &last))
				if err != nil {
					t.Fatalf("%s: %v", x.title, err)
				}
				body, err := io.ReadAll(resp.Body)
				if err := errorsOf(err, resp.Body.Close()); err != nil {
					t.Fatalf("%s: %v", x.title, err)
				}
				if resp.StatusCode != x.status {
					t.Errorf("%s: status %d, want %d\n%s", x.title, resp.StatusCode, x.status, body)
					continue
				}
				for _, want := range x.want {
					name, value, isHeader := strings.Cut(want, ": ")
					if isHeader && name == http.CanonicalHeaderKey(name) && !strings.ContainsAny(name, `"{ `) {
						if got := resp.Header.Get(name); got != value {
							t.Errorf("%s: header %s is %q, want %q", x.title, name, got, value)
						}
					} else if !bytes.Contains(body, []byte(want)) {
						t.Errorf("%s: the body has no %s\n%s", x.title, want, body)
					}
				}
				for _, not := range x.wantNot {
					if bytes.Contains(body, []byte(not)) {
						t.Errorf("%s: the body has %s\n%s", x.title, not, body)
					}
				}
				if x.method != "HEAD" {
					spec.check(t, x, resp, body)
				}
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
