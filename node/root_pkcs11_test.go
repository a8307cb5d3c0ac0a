//go:build cgo

package node

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	rootkey "vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/receipt"
	testpeers "vaultmesh.org/vaultmesh/test/peers"
)

// A root in a token behind PKCS#11 (softhsm2) vouches for a node's keys: the node starts and renews with it, and what the
// token signed leads an auditor who pins nothing but the token's key to the node's checkpoints.
func TestRootInAToken(t *testing.T) {
	util := testpeers.Debian(t, "softhsm2", "/usr/bin/softhsm2-util")
	module := testpeers.Debian(t, "libsofthsm2", "/usr/lib/softhsm/libsofthsm2.so")
	dir := t.TempDir()
	conf, pin := filepath.Join(dir, "softhsm2.conf"), filepath.Join(dir, "pin")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pin, []byte("7359\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command(util, "--init-token", "--free", "--label", "plant", "--pin", "7359", "--so-pin", "8264").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := keyConfig(t.TempDir())
	r := &c.Keys.Root
	r.Provider, r.Module, r.Token, r.Key, r.PINFile = "pkcs11", module, "plant", "root", pin
	public, err := rootkey.Generate(c.Keys.Root.signer())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		visit(t, c, func(n *Node) {
			chain := keyChain(t, n)
			h, err := receipt.FollowKeys(c.Domain, nil, []ed25519.PublicKey{public}, chain)
			if err != nil || len(chain) != 3 {
				t.Fatalf("%d statements, %v", len(chain), err)
			}
			if _, err := h.Checkpoint(n.log.Checkpoint().Note); err != nil {
				t.Fatal(err)
			}
		})
	}
	// A wrong PIN is tried once, not at every attempt to renew: a token locks after a few.
	if err := os.WriteFile(pin, []byte("0000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	visit(t, c, func(n *Node) {
		if n.root.denied == nil || n.root.reach(t.Context()) != n.root.denied {
			t.Fatalf("the token would be asked again: %v", n.root.denied)
		}
	})
}
