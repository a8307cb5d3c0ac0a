package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The peers, by name. A version is named here alone.
const (
	btcd, btcdVersion             = "github.com/btcsuite/btcd", "v0.26.2"
	authority, authorityVersion   = "github.com/sigstore/timestamp-authority/v2", "v2.1.3" // later ones need a newer Go
	gcs, gcsVersion               = "github.com/fsouza/fake-gcs-server", "v1.52.3"
	versitygw, versitygwVersion   = "github.com/versity/versitygw", "v1.8.0"
	anvil, ganache, mpt, official = "@foundry-rs/anvil-linux-amd64@1.7.1", "ganache@7.9.2", "@ethereumjs/mpt@10.1.3", "@digicatapult/dtdl-parser@1.1.83"
)

// Btcd returns the path of a Bitcoin node.
func Btcd(t testing.TB) string { t.Helper(); return goBinary(t, btcd, btcdVersion, ".") }

// TimestampServer returns the path of sigstore's RFC 3161 authority.
func TimestampServer(t testing.TB) string {
	t.Helper()
	return goBinary(t, authority, authorityVersion, "./cmd/timestamp-server")
}

// FakeGCS returns the path of a server that speaks Google Cloud Storage's API.
func FakeGCS(t testing.TB) string { t.Helper(); return goBinary(t, gcs, gcsVersion, ".") }

// Anvil returns the path of an Ethereum development node.
func Anvil(t testing.TB) string {
	t.Helper()
	return filepath.Join(npmPackage(t, anvil), "node_modules", "@foundry-rs", "anvil-linux-amd64", "bin", "anvil")
}

// Ganache returns the folder whose node_modules holds another Ethereum development node.
func Ganache(t testing.TB) string { t.Helper(); return npmPackage(t, ganache) }

// EthereumMPT returns the folder whose node_modules holds EthereumJS' Merkle-Patricia trie.
func EthereumMPT(t testing.TB) string { t.Helper(); return npmPackage(t, mpt) }

// DTDLParser returns the folder whose node_modules holds the official DTDL parser.
func DTDLParser(t testing.TB) string { t.Helper(); return npmPackage(t, official) }

// Peer is one entry of the list of all.
type Peer struct {
	Name    string // for people
	Debian  string // the Debian packages that bring it; empty: it is built or installed by Fetch
	present func(ctx context.Context) error
	fetch   func() error
}

// Present says why the peer is not there; nil where it is.
func (p *Peer) Present(ctx context.Context) error { return p.present(ctx) }

// Fetch builds or installs the peer into the user's cache folder. It does nothing for those of Debian packages.
func (p *Peer) Fetch() error {
	if p.fetch == nil {
		return nil
	}
	return p.fetch()
}

// List returns all peers of the tests.
func List() []Peer {
	var list []Peer
	for _, p := range [][3]string{{btcd, btcdVersion, "."}, {authority, authorityVersion, "./cmd/timestamp-server"}, {gcs, gcsVersion, "."}, {versitygw, versitygwVersion, "./cmd/versitygw"}} {
		list = append(list, Peer{Name: p[0] + " " + p[1],
			present: func(context.Context) error { return inCache(goBinaryPath(p[0], p[1], p[2])) },
			fetch:   func() error { return buildGo(p[0], p[1], p[2]) }})
	}
	for _, p := range []string{anvil, ganache, mpt, official} {
		list = append(list, Peer{Name: "npm " + p,
			present: func(context.Context) error { return inCache(npmMark(p)) },
			fetch:   func() error { return installNPM(p) }})
	}
	for _, p := range [][2]string{{"softhsm2", "/usr/bin/softhsm2-util"}, {"chromium", "/usr/bin/chromium"}, {"openssl", "/usr/bin/openssl"}, {"mosquitto", "/usr/sbin/mosquitto"}} {
		list = append(list, Peer{Name: p[1], Debian: p[0], present: func(context.Context) error { _, err := os.Stat(p[1]); return err }})
	}
	for _, p := range [][2]string{{"python3-opentimestamps", "opentimestamps"}, {"python3-bitcoinlib", "bitcoin"}} {
		list = append(list, Peer{Name: "python module " + p[1], Debian: p[0], present: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return exec.CommandContext(ctx, python, "-c", "import "+p[1]).Run()
		}})
	}
	return list
}

func inCache(path string, err error) error {
	if err == nil {
		_, err = os.Stat(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("not fetched yet: run make peers")
	}
	return err
}
