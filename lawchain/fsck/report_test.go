package fsck_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

// A check says ok of nothing that it did not read.
func TestNothingReadIsNotOK(t *testing.T) {
	dir := publish(t, 300)
	if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	r := check(t, logs.Bucket(t, dir), options(t))
	if r.Receipts != 0 {
		t.Fatalf("%d receipts were read without a checkpoint", r.Receipts)
	}
	for _, c := range r.Checks {
		switch c.Name {
		case "entries", "tree", "chains", "times", "signatures":
			if c.OK || c.Judged {
				t.Errorf("%s: %+v, and nothing was read", c.Name, c)
			}
		}
	}
	for _, c := range check(t, logs.Bucket(t, publish(t, 300)), options(t)).Checks {
		if !c.OK || !c.Judged {
			t.Errorf("a sound log: %+v", c)
		}
	}
}

// A wrong trust file does not bury the checkpoint's own problem, and what may be the matter is said.
func TestWrongTrustFile(t *testing.T) {
	o := options(t)
	for i := range o.Pins.Keys {
		if o.Pins.Keys[i].Purpose == receipt.PurposeReceipt {
			o.Pins.Keys[i].Public = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
		}
	}
	r := check(t, logs.Bucket(t, publish(t, 300)), o)
	want(t, r, fsck.Damaged, "")
	if len(r.Problems) > 20 || r.More == 0 {
		t.Errorf("%d problems are listed and %d more: one kind crowds out the others", len(r.Problems), r.More)
	}
	if !strings.Contains(strings.Join(r.Notes, "\n"), "is this the trust file of this log?") {
		t.Errorf("notes %q", r.Notes)
	}
}

// A place that has traces of both, and no checkpoint, is told by the same rule each time.
func TestKindIsNoChance(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tile", "segments"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "a"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		if kind, err := fsck.Kind(t.Context(), logs.Bucket(t, dir)); err != nil || kind != "archive" {
			t.Fatalf("%q %v", kind, err)
		}
	}
}
