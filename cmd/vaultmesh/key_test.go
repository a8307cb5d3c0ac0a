package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/node"
)

// say runs one command line.
func say(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(args, &out, &errOut); code != want {
		t.Fatalf("vaultmesh %s: status %d, want %d\n%s%s", strings.Join(args, " "), code, want, out.String(), errOut.String())
	}
	return out.String() + errOut.String()
}

// The ceremony on the command line: list, rotate, retire, and what each says to do next.
func TestKeyCommands(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "vaultmesh.yaml")
	root := filepath.Join(t.TempDir(), "root.key")
	text := "profile: dev\ndata: " + data + "\nhttp: {listen: \"127.0.0.1:0\"}\nmqtt: {listen: \"127.0.0.1:0\"}\ngrid: {case: \"\"}\nkeys: {root: {provider: file, key: " + root + "}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := say(t, 1, "key", "list", "--config", file); !strings.Contains(got, "no such data folder") {
		t.Fatal(got)
	}
	if got := say(t, 0, "key", "root", "--generate", "--config", file); !strings.Contains(got, "key_roots") {
		t.Fatal(got)
	}
	say(t, 1, "key", "root", "--generate", "--config", file) // never over a key
	cfg, err := node.LoadConfig(file, "dev", nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, 1, "key", "rotate", "log", "--config", file); !strings.Contains(got, "another node has this data folder open") {
		t.Fatal(got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if got := say(t, 0, "key", "rotate", "log", "--config", file, "--reason", "yearly"); !strings.Contains(got, "vaultmesh key retire log --config "+file) {
		t.Fatal(got)
	}
	var list struct{ Keys []node.KeyInfo }
	if err := json.Unmarshal([]byte(say(t, 0, "key", "list", "--json", "--config", file)), &list); err != nil || len(list.Keys) != 4 {
		t.Fatalf("%d keys, %v", len(list.Keys), err)
	}
	// The data folder alone is enough: an offline command needs no certificates.
	prod := filepath.Join(t.TempDir(), "prod.yaml")
	if err := os.WriteFile(prod, []byte("profile: prod\ndomain: dev\ndata: "+filepath.Join(t.TempDir(), "elsewhere")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := say(t, 0, "key", "list", "--config", prod, "--data", data); !strings.Contains(got, "overlap") {
		t.Fatal(got)
	}
	if got := say(t, 0, "key", "list", "--profile", "dev", "--data", data); !strings.Contains(got, "overlap") {
		t.Fatal(got)
	}
	if got := say(t, 1, "key", "list", "--data", data); !strings.Contains(got, "belongs to domain dev") {
		t.Fatal(got)
	}
	if got := say(t, 0, "key", "retire", "log", "--config", file); !strings.Contains(got, "log.key") || !strings.Contains(got, "destroy") {
		t.Fatal(got)
	}
	if got := say(t, 0, "key", "list", "--config", file); !strings.Contains(got, "retired") || !strings.Contains(got, "delegated until") {
		t.Fatal(got)
	}
	say(t, 2, "key", "rotate", "tea", "--config", file)
}

// cosigns runs the witness twice: it cosigns, and knows after a restart what it cosigned.
func cosigns(t *testing.T, c *witnessServeCmd, vkey string) {
	t.Helper()
	sk, vk, err := note.GenerateKey(strings.NewReader(strings.Repeat("seed of a log key", 8)), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(sk)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sha256.Sum256([]byte("\x00entry"))
	checkpoint, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: "log.example", Size: 1, Hash: leaf[:]}.Marshal())}, signer)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c.Log = []string{vk}
	for _, old := range []uint64{0, 1} {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- c.Run(&app{ctx: ctx, out: w, errOut: io.Discard, log: slog.New(slog.DiscardHandler)}) }()
		var ready struct{ URL, Key string }
		if err := json.NewDecoder(r).Decode(&ready); err != nil || ready.Key != vkey {
			t.Fatalf("%+v %v", ready, err)
		}
		client := &witness.Client{URL: ready.URL, Verifier: verifier}
		if _, err := client.Add(ctx, witness.Request{Old: old, Checkpoint: checkpoint}); err != nil {
			t.Fatalf("old %d: %v", old, err)
		}
		var other *witness.SizeError
		if _, err := client.Add(ctx, witness.Request{Old: 0, Checkpoint: checkpoint}); !errors.As(err, &other) || other.Held != 1 {
			t.Fatalf("it forgot: %v", err)
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Fatal(err)
		}
	}
}

// A witness that is no node: its key, its process, and what it caught.
func TestWitnessCommands(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "w1.key")
	vkey := strings.TrimSpace(say(t, 0, "witness", "key", "--name", "witness.example/w1", secret))
	if !strings.HasPrefix(vkey, "witness.example/w1+") {
		t.Fatal(vkey)
	}
	say(t, 1, "witness", "key", "--name", "witness.example/w1", secret)
	if st, err := os.Stat(secret); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	cosigns(t, &witnessServeCmd{Dir: filepath.Join(dir, "served"), Key: secret, Listen: "127.0.0.1:0"}, vkey)
	say(t, 2, "witness", "serve", "--dir", filepath.Join(dir, "w"), "--key", secret, "--log", "not a key")
	if got := say(t, 0, "witness", "conflicts", filepath.Join(dir, "served")); got != "0 conflicts\n" {
		t.Fatal(got)
	}
	for _, wrong := range []string{dir, filepath.Join(dir, "none"), filepath.Join(dir, "none", "witness-alarms"), filepath.Join(dir, "witness-alarms")} {
		if got := say(t, 2, "witness", "conflicts", wrong); !strings.Contains(got, "not the folder of a witness") && !strings.Contains(got, "not the data folder of a node") {
			t.Fatal(got)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "data", "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := say(t, 0, "witness", "conflicts", filepath.Join(dir, "data", "witness-alarms")); got != "0 conflicts\n" {
		t.Fatal(got)
	}
	if got := say(t, 0, "witness", "conflicts", "--json", filepath.Join(dir, "data", "witness-alarms")); got != "{\"conflicts\":[]}\n" {
		t.Fatal(got)
	}
}
