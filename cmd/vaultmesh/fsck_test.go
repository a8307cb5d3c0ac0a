package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	tessera "github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

// site is a domain on the command line.
type site struct {
	*testing.T
	data, file, archive string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t, filepath.Join(dir, "data"), filepath.Join(dir, "vaultmesh.yaml"), filepath.Join(dir, "archive")}
	text := "profile: dev\ndata: " + s.data + "\nhttp: {listen: \"127.0.0.1:0\", log: anyone}\nmqtt: {listen: \"127.0.0.1:0\"}\ngrid: {case: ieee14}\narchive: {url: " + s.archive + "}\nlog: {interval: 10ms}\n"
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts the node, calls f, and stops the node.
func (s *site) run(f func(n *node.Node)) {
	s.Helper()
	cfg, err := node.LoadConfig(s.file, "dev", nil)
	if err != nil {
		s.Fatal(err)
	}
	n, err := node.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		s.Fatal(err)
	}
	if f != nil {
		f(n)
	}
	if err := n.Close(); err != nil {
		s.Fatal(err)
	}
}

func (s *site) says(got, want string) {
	s.Helper()
	if !strings.Contains(got, want) {
		s.Fatalf("want %q in:\n%s", want, got)
	}
}

// trust is what the domain's trust file pins.
func (s *site) trust() *receipt.Trust {
	s.Helper()
	raw, err := os.ReadFile(filepath.Join(s.data, "trust.json"))
	if err != nil {
		s.Fatal(err)
	}
	trust, err := receipt.LoadTrust(raw)
	if err != nil {
		s.Fatal(err)
	}
	return trust
}

// pin writes a trust file of the domain as it is now.
func (s *site) pin(name string, change func(*receipt.Trust)) string {
	s.Helper()
	trust := s.trust()
	change(trust)
	raw, err := json.Marshal(trust)
	if err != nil {
		s.Fatal(err)
	}
	path := filepath.Join(s.TempDir(), name)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// A running node, a stopped one, what it published, what it archived: each is checked, and damage is found.
func TestFsckCommand(t *testing.T) {
	s := newSite(t)
	s.run(func(n *node.Node) {
		s.says(say(t, 2, "fsck", s.data), "a node runs on this data folder")
		trust, ca := filepath.Join(s.data, "trust.json"), filepath.Join(s.data, "pki", "ca.crt")
		s.says(say(t, 0, "fsck", n.URL()+"/log/", "--trust", trust, "--ca", ca), "SOUND: published")
		s.stockReader(n.URL()+"/log/", ca)
		s.says(say(t, 2, "fsck", n.URL()+"/log/", "--trust", trust), "does not answer") // another CA than the system's
	})
	trust := s.pin("trust.json", func(*receipt.Trust) {})
	var all struct {
		Verdict string
		Reports []struct {
			Verdict, Kind string
			Size, Signed  uint64
			Problems      []any
		}
	}
	if err := json.Unmarshal([]byte(say(t, 0, "fsck", s.data, "--trust", trust, "--json")), &all); err != nil {
		t.Fatal(err)
	}
	if all.Verdict != "sound" || len(all.Reports) != 2 || all.Reports[0].Kind != "journal" || all.Reports[1].Kind != "published" || all.Reports[0].Size != all.Reports[1].Size || all.Reports[0].Signed == 0 {
		t.Fatalf("%+v", all)
	}
	s.says(say(t, 0, "fsck", s.data), "the keys are those of "+s.data+" itself")
	s.says(say(t, 0, "fsck", s.archive, "--trust", trust), "SOUND: archive")
	restored := filepath.Join(t.TempDir(), "restored")
	s.says(say(t, 0, "archive", "restore", s.archive, restored, "--trust", trust), "A node cannot be started from it")
	say(t, 2, "archive", "restore", s.archive, restored, "--trust", trust)
	say(t, 0, "fsck", "file://"+restored, "--trust", trust)
	say(t, 0, "fsck", filepath.Join(s.data, "log"), "--trust", trust, "--expect", filepath.Join(restored, "checkpoint"))
	say(t, 2, "fsck", filepath.Join(s.data, "nowhere"), "--trust", trust)
	say(t, 2, "fsck", t.TempDir(), "--trust", trust)
	say(t, 2, "fsck", restored)

	first := filepath.Join(s.data, "log", tiles.Tile{Entries: true, Width: tiles.Width}.Path())
	good, err := os.ReadFile(first)
	if err != nil {
		matches, _ := filepath.Glob(filepath.Join(s.data, "log", "tile", "entries", "*", "*"))
		if len(matches) == 0 {
			t.Fatal(err)
		}
		first = matches[len(matches)-1]
		if good, err = os.ReadFile(first); err != nil {
			t.Fatal(err)
		}
	}
	bad := append([]byte(nil), good...)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(first, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	s.says(say(t, 1, "fsck", s.data, "--trust", trust), "DAMAGED: published")
	s.says(say(t, 1, "fsck", filepath.Join(s.data, "log"), "--trust", trust), "one of the two was changed")
}

// stockReader has Tessera's client and its check read the node's own face.
func (s *site) stockReader(address, ca string) {
	s.Helper()
	trust := s.trust()
	v, err := note.NewVerifier(trust.Log.Key)
	if err != nil {
		s.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		s.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer c.CloseIdleConnections()
	u, err := url.Parse(address)
	if err != nil {
		s.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(u, c)
	if err != nil {
		s.Fatal(err)
	}
	hash := func(raw []byte) (hashes [][]byte, err error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(raw); err != nil {
			return nil, err
		}
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return hashes, nil
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if err := tessera.New(trust.Log.Origin, v, f, hash, tessera.Opts{N: 2}).Check(ctx); err != nil {
		s.Fatalf("Tessera's check of %s: %v", address, err)
	}
}

// Keys that were rotated: whoever pinned the first ones and follows, accepts the log; whoever does not follow, is told.
func TestFsckFollowsKeys(t *testing.T) {
	s := newSite(t)
	s.run(nil)
	fixed := s.pin("fixed.json", func(t *receipt.Trust) { t.FollowKeys = false })
	follow := s.pin("follow.json", func(t *receipt.Trust) { t.FollowKeys = true })
	for _, key := range []string{"log", "receipt"} {
		say(t, 0, "key", "rotate", key, "--config", s.file, "--reason", "yearly")
	}
	s.run(nil) // publishes and archives with the new keys
	for _, place := range []string{s.data, filepath.Join(s.data, "log"), s.archive} {
		s.says(say(t, 0, "fsck", place, "--trust", follow), "SOUND")
		s.says(say(t, 1, "fsck", place, "--trust", fixed), "not pinned")
	}
	say(t, 0, "key", "retire", "log", "--config", s.file)
	s.run(nil)
	for _, place := range []string{s.data, filepath.Join(s.data, "log"), s.archive} {
		s.says(say(t, 0, "fsck", place, "--trust", follow), "SOUND")
		s.says(say(t, 1, "fsck", place, "--trust", fixed), "no key that counts")
	}
}
