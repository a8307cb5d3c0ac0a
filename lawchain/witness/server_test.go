package witness_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
)

// The witness that a test kills runs in a copy of this program.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WITNESS_TEST_DIR"); dir != "" {
		child(dir)
		return
	}
	logs.Main(m)
}

// key makes a witness's key from a name.
func key(t testing.TB, name string) (*fnote.Signer, string) {
	t.Helper()
	s, vkey, err := witness.LoadKey(keys.Named(name).Note(name).Secret)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(t testing.TB, o witness.ServerOptions) *witness.Server {
	t.Helper()
	if o.Signer == nil {
		o.Signer, _ = key(t, "witness.example/w1")
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Log = quiet()
	s, err := witness.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	dirs.Store(s, o.Dir)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func nameOf(origin string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(origin))) }

func asSize(err error, e **witness.SizeError) bool { return errors.As(err, e) }

// Every rule of the specification, in its order.
func TestAddCheckpoint(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(20, "main")
	other := newTree(t, "example.com/log", "2") // another key under the name
	other.grow(20, "main")
	unknown := newTree(t, "example.com/unknown", "1")
	unknown.grow(20, "main")
	fork := newTree(t, "example.com/log", "1")
	fork.grow(5, "main")
	fork.grow(15, "fork")
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}})

	ask := func(r witness.Request) witness.Answer { return s.AddCheckpoint(r.Marshal()) }
	expect := func(what string, a witness.Answer, status int) {
		t.Helper()
		if a.Status != status {
			t.Fatalf("%s: %d %s; want %d", what, a.Status, a.Body, status)
		}
	}
	conflict := func(what string, a witness.Answer, size int) {
		t.Helper()
		if a.Status != 409 || a.Type != "text/x.tlog.size" || string(a.Body) != strconv.Itoa(size)+"\n" {
			t.Fatalf("%s: %d %s %q; want 409 with %d", what, a.Status, a.Type, a.Body, size)
		}
	}
	expect("an unknown log", ask(unknown.request(0, 5)), 404)
	expect("a foreign key", ask(other.request(0, 5)), 403)
	expect("an unknown log goes before a wrong old size", ask(unknown.request(0, 5)), 404)
	r := x.request(0, 5)
	r.Old = 6
	expect("old above the checkpoint", ask(r), 400)
	conflict("an old size that is not held", ask(x.request(3, 5)), 0)
	r = x.request(0, 5)
	r.Proof = [][]byte{make([]byte, 32)}
	expect("a proof from nothing", ask(r), 422)

	a := ask(x.request(0, 5))
	expect("the first", a, 200)
	cosigned(t, x.at(5).Note, a.Body)
	expect("the same again", ask(x.request(5, 5)), 200)
	conflict("from nothing, though 5 are held", ask(x.request(0, 9)), 5)
	conflict("back", ask(x.request(2, 4)), 5)
	r = x.request(5, 9)
	r.Proof[0][0] ^= 1
	expect("a wrong proof", ask(r), 422)
	r = x.request(5, 9)
	r.Proof = r.Proof[:len(r.Proof)-1]
	expect("a short proof", ask(r), 422)
	r = x.request(5, 5)
	r.Proof = [][]byte{make([]byte, 32)}
	expect("a proof to itself", ask(r), 422)
	expect("growth", ask(x.request(5, 9)), 200)
	expect("more growth", ask(x.request(9, 20)), 200)
	if got, _ := witness.Conflicts(dirOf(s)); len(got) != 0 {
		t.Fatalf("conflicts %v before there is one", got)
	}
	// Same size, other root, by the log's own key, whatever old size is claimed.
	conflict("equivocation", ask(fork.request(20, 20)), 20)
	conflict("equivocation with another old size", ask(fork.request(5, 20)), 20)
	got, err := witness.Conflicts(dirOf(s))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d conflicts are kept, %v; want one", len(got), err)
	}
	if err := got[0].Check(x.verify); err != nil {
		t.Fatal(err)
	}
	if err := got[0].Check(unknown.verify); err == nil {
		t.Fatal("the evidence verifies with a foreign key")
	}
	swapped := got[0]
	swapped.Offered = swapped.Held
	if err := swapped.Check(x.verify); err == nil {
		t.Fatal("one note twice passes as a contradiction")
	}
	expect("the log goes on after it", ask(x.request(20, 20)), 200)
}

// cosigned verifies an answer by the specification's own recipe: note verification of checkpoint and answer together.
func cosigned(t testing.TB, checkpoint, lines []byte) {
	t.Helper()
	_, vkey := key(t, "witness.example/w1")
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(append(bytes.Clone(checkpoint), lines...), note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 {
		t.Fatalf("the cosignature does not verify: %v", err)
	}
	at, err := fnote.CoSigV1Timestamp(n.Sigs[0])
	if err != nil || time.Since(at).Abs() > time.Hour {
		t.Fatalf("the cosignature is dated %v, %v", at, err)
	}
}

var dirs sync.Map

func dirOf(s *witness.Server) string { d, _ := dirs.Load(s); return d.(string) }

func TestMalformedRequests(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(9, "main")
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}})
	good := string(x.request(0, 5).Marshal())
	note5 := string(x.at(5).Note)
	hash := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for name, body := range map[string]string{
		"empty": "", "no old": note5, "leading zero": strings.Replace(good, "old 0", "old 00", 1), "negative": strings.Replace(good, "old 0", "old -1", 1),
		"plus": strings.Replace(good, "old 0", "old +0", 1), "two spaces": strings.Replace(good, "old 0", "old  0", 1), "huge": strings.Replace(good, "old 0", "old 99999999999999999999", 1),
		"carriage return": strings.Replace(good, "old 0\n", "old 0\r\n", 1), "no empty line": "old 0\n" + note5[:20], "64 hashes": "old 0\n" + strings.Repeat(hash, 64) + "\n" + note5,
		"short hash": "old 0\nAAAA\n\n" + note5, "not base64": "old 0\n!\n\n" + note5, "no checkpoint": "old 0\n\n", "no signature": "old 0\n\nexample.com/log\n5\n" + hash,
		"size with zero": strings.Replace(good, "\n5\n", "\n05\n", 1), "trailing bits": "old 0\n" + strings.Replace(hash, "AAA=", "AAB=", 1) + "\n" + note5,
	} {
		if a := s.AddCheckpoint([]byte(body)); a.Status != 400 {
			t.Errorf("%s: %d %s; want 400", name, a.Status, a.Body)
		}
	}
	if a := s.AddCheckpoint([]byte(good)); a.Status != 200 {
		t.Fatalf("the good one: %d %s", a.Status, a.Body)
	}
	web := httptest.NewServer(s)
	defer web.Close()
	for _, c := range []struct {
		method, path string
		body         string
		status       int
	}{
		{"GET", "/add-checkpoint", "", 405}, {"POST", "/", "", 404}, {"POST", "/add-checkpoint", strings.Repeat("x", witness.MaxRequest+1), 413}, {"POST", "/add-checkpoint", "x", 400},
		{"GET", "/log/00/checkpoint", "", 404},
	} {
		q, _ := http.NewRequest(c.method, web.URL+c.path, strings.NewReader(c.body))
		r, err := web.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, r.StatusCode, c.status)
		}
	}
}

// A witness that is asked by many at once cosigns one growing history: no two answers contradict each other.
func TestRace(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(64, "main")
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}})
	var mu sync.Mutex
	var order []uint64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			old := uint64(0)
			for size := uint64(w + 1); size <= 64; size += 3 {
				for {
					if old > size {
						break
					}
					a := s.AddCheckpoint(x.request(old, size).Marshal())
					if a.Status == 409 {
						old, _ = strconv.ParseUint(strings.TrimSpace(string(a.Body)), 10, 64)
						continue
					}
					if a.Status != 200 {
						t.Errorf("%d %s", a.Status, a.Body)
					}
					mu.Lock()
					order = append(order, size)
					mu.Unlock()
					old = size
					break
				}
			}
		})
	}
	wg.Wait()
	held, ok := s.Held(nameOf("example.com/log"))
	if !ok || !bytes.Equal(held, x.at(maxOf(order)).Note) {
		t.Fatalf("it holds %q after %v", held, order)
	}
}

func maxOf(list []uint64) (m uint64) {
	for _, x := range list {
		m = max(m, x)
	}
	return m
}

// What was cosigned is known after a restart, a folder belongs to one key, and damage is never taken for a new log.
func TestRestart(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(9, "main")
	dir := t.TempDir()
	logs := []note.Verifier{x.verify}
	signer, _ := key(t, "witness.example/w1")
	open := func(o witness.ServerOptions) (*witness.Server, error) {
		o.Dir, o.Logs, o.Log = dir, logs, quiet()
		if o.Signer == nil {
			o.Signer = signer
		}
		return witness.NewServer(o)
	}
	s, err := open(witness.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.AddCheckpoint(x.request(0, 5).Marshal()); a.Status != 200 {
		t.Fatal(a.Status)
	}
	if _, err := open(witness.ServerOptions{}); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("two witnesses have one folder: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(witness.ServerOptions{}); err != nil {
		t.Fatal(err)
	}
	if a := s.AddCheckpoint(x.request(0, 3).Marshal()); a.Status != 409 || string(a.Body) != "5\n" {
		t.Fatalf("after a restart: %d %s", a.Status, a.Body)
	}
	_ = s.Close()
	another, _ := key(t, "witness.example/w2")
	if _, err := open(witness.ServerOptions{Signer: another}); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a second key uses the folder: %v", err)
	}
	file := filepath.Join(dir, "logs", nameOf("example.com/log"))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(witness.ServerOptions{}); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Fatalf("byte %d of the record was changed: %v", i, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "logs")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(witness.ServerOptions{}); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("the records are gone and it goes on: %v", err)
	}
}

// child is a witness that dies at its failpoint.
func child(dir string) {
	t := &testing.T{}
	x := newTree(t, "example.com/log", "1")
	signer, _ := key(t, "witness.example/w1")
	fatal := func(err error) { fmt.Fprintln(os.Stderr, err); os.Exit(3) }
	hits, at := 0, 0
	_, _ = fmt.Sscan(os.Getenv("WITNESS_TEST_DIE"), &at)
	s, err := witness.NewServer(witness.ServerOptions{Dir: dir, Signer: signer, Logs: []note.Verifier{x.verify}, Log: quiet(), Failpoint: func(string) {
		if hits++; hits == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fatal(err)
	}
	fmt.Println("http://" + l.Addr().String())
	fatal(http.Serve(l, s))
}

// start runs the child and returns its address and a function that ends it.
func start(t *testing.T, dir string, die int) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "WITNESS_TEST_DIR="+dir, "WITNESS_TEST_DIE="+strconv.Itoa(die))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() { _ = cmd.Process.Kill(); err = cmd.Wait(); cancel() })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), stop
}

// Killed between the durable head and its cosignature, a witness has signed nothing that it forgot: afterwards it holds
// the new head, refuses a fork from the old one, and gives the cosignature on the next request.
func TestKilledBeforeItCosigns(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(40, "main")
	fork := newTree(t, "example.com/log", "1")
	fork.grow(3, "main")
	fork.grow(37, "fork")
	_, vkey := key(t, "witness.example/w1")
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	held := uint64(0)
	for round := range 5 {
		die := 1 + round%3 // at the first, second or third cosignature of the process
		url, stop := start(t, dir, die)
		c := &witness.Client{URL: url, Verifier: v}
		for step := 1; step <= die; step++ {
			next := held + 2
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			_, err := c.Add(ctx, x.request(held, next))
			cancel()
			if (err == nil) != (step < die) {
				t.Fatalf("round %d step %d: %v", round, step, err)
			}
			held = next
		}
		_ = stop()
		url, stop = start(t, dir, -1)
		c.URL = url
		var other *witness.SizeError
		if _, err := c.Add(t.Context(), fork.request(held-2, held)); !asSize(err, &other) || other.Held != held {
			t.Fatalf("round %d: after the kill a fork is answered with %v; it must hold %d", round, err, held)
		}
		if _, err := c.Add(t.Context(), x.request(held, held)); err != nil {
			t.Fatalf("round %d: no cosignature after the restart: %v", round, err)
		}
		_ = stop()
	}
}

func FuzzAddCheckpoint(f *testing.F) {
	x := newTree(f, "example.com/log", "1")
	x.grow(9, "main")
	s := serve(f, witness.ServerOptions{Logs: []note.Verifier{x.verify}})
	f.Add(x.request(0, 5).Marshal())
	f.Add(x.request(5, 9).Marshal())
	f.Add([]byte("old 0\n\nexample.com/log\n5\nAAAA\n\n\u2014 example.com/log AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := witness.ParseRequest(b)
		if err == nil && !bytes.Equal(r.Marshal(), b) {
			t.Fatalf("%q has another form", b)
		}
		if a := s.AddCheckpoint(b); a.Status == 200 {
			if _, err := note.Open(r.Checkpoint, note.VerifierList(x.verify)); err != nil {
				t.Fatalf("cosigned what the log did not sign: %q", b)
			}
		}
	})
}

func FuzzConflict(f *testing.F) {
	x := newTree(f, "example.com/log", "1")
	x.grow(3, "main")
	b, _ := json.Marshal(witness.Conflict{Origin: "example.com/log", Size: 3, Held: string(x.at(3).Note), Offered: string(x.sign(log.Checkpoint{Origin: "example.com/log", Size: 3, Hash: make([]byte, 32)}))})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c witness.Conflict
		if json.Unmarshal(b, &c) == nil && c.Check(x.verify) == nil && (c.Held == c.Offered || c.Origin != "example.com/log") {
			t.Fatal("one note contradicts itself")
		}
	})
}
