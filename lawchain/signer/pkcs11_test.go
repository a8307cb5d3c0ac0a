//go:build cgo

package signer_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/test/peers"
)

// softHSM makes a token in a folder of the test and returns its configuration. The library reads its environment once
// in a process, so all tests share the token folder and have a token each.
func softHSM(t testing.TB, label string) signer.Config {
	t.Helper()
	util := peers.Debian(t, "softhsm2", "/usr/bin/softhsm2-util")
	module := peers.Debian(t, "libsofthsm2", "/usr/lib/softhsm/libsofthsm2.so")
	cmd := exec.Command(util, "--init-token", "--free", "--label", label, "--pin", "7359", "--so-pin", "8264")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return signer.Config{Provider: "pkcs11", Module: module, Token: label, Key: "root", PINFile: secretFile(t, "pin", "7359")}
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		panic(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir), 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SOFTHSM2_CONF", conf)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestPKCS11(t *testing.T) {
	c, second := softHSM(t, "vaultmesh-1"), softHSM(t, "vaultmesh-2") // both before the library starts: it does not see later ones
	if _, err := signer.Open(t.Context(), c); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatalf("a token without the key: %v", err)
	}
	public, err := signer.Generate(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Generate(c); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a second key under the label: %v", err)
	}
	k, err := signer.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !k.Public().Equal(public) {
		t.Fatal("another key was opened than was made")
	}
	sound(t, k)
	if _, err := k.Sign(t.Context(), []byte("after Close it logs in again")); err != nil {
		t.Fatal(err)
	}
	_ = k.Close()

	wrong := c
	wrong.Token = "vaultmesh-none"
	if _, err := signer.Open(t.Context(), wrong); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("no such token: %v", err)
	}
	wrong = c
	wrong.Module = "/nowhere.so"
	if _, err := signer.Open(t.Context(), wrong); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no such module: %v", err)
	}
	// A token of its own, since the login belongs to the whole process.
	wrong = second
	wrong.PINFile = secretFile(t, "pin", "0000")
	if _, err := signer.Open(t.Context(), wrong); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("a wrong PIN: %v", err)
	}
}
