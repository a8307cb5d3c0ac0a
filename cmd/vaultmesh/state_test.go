package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

func TestStateVerify(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	trust, err := json.Marshal(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	dir, write := folder(t)
	pins := write("trust.json", trust)
	whole := write("whole.json", bundle)
	flipped := bytes.Clone(bundle)
	flipped[len(flipped)/2] ^= 1
	small, smallTrust := smallestBundle(t)
	for name, c := range map[string]struct {
		args   []string
		status int
		say    []string
	}{
		"proved":           {[]string{whole, "--trust", pins}, 0, []string{"PROVED", "no-such-twin", "did not exist", "transformer-4-9", "subject "}},
		"json":             {[]string{whole, "--trust", pins, "--json"}, 0, []string{`"ok":true`, `"present":false`, `"key":"twin/no-such-twin"`}},
		"no such property": {[]string{whole, "colour", "--trust", pins}, 0, []string{"held no such value"}},
		"altered":          {[]string{write("flipped.json", flipped), "--trust", pins}, exitNo, []string{"REFUSED"}},
		"no proof":         {[]string{write("small.json", small), "--trust", write("small-trust.json", smallTrust)}, exitUnusable, []string{"holds no state proof"}},
		"no trust file":    {[]string{whole, "--trust", filepath.Join(dir, "missing")}, exitUnusable, nil},
	} {
		var out bytes.Buffer
		status := run(append([]string{"state", "verify"}, c.args...), &out, &out)
		if status != c.status {
			t.Errorf("%s: status %d, want %d\n%s", name, status, c.status, out.String())
		}
		for _, text := range c.say {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: does not say %q\n%s", name, text, out.String())
			}
		}
		if c.status != 0 && strings.Contains(out.String(), "PROVED") {
			t.Errorf("%s: says that something is proved", name)
		}
	}
}

// A state of the future is not proved by one of the past.
func TestStateAtIsWithinTheLog(t *testing.T) {
	w := sample.New(t)
	b, err := receipt.DecodeBundle(w.Pack(w.Everything()))
	if err != nil {
		t.Fatal(err)
	}
	for at, fails := range map[uint64]bool{0: false, 1: false, w.Size(): false, w.Size() + 1: true, 99999999: true} {
		err := (&stateProveCmd{At: at}).within(b)
		if (err != nil) != fails || fails && vaultmesh.KindOf(err) != vaultmesh.NotFound {
			t.Errorf("at %d of %d: %v", at, w.Size(), err)
		}
	}
}

func TestScrollsAreListed(t *testing.T) {
	var out bytes.Buffer
	if status := run([]string{"receipts", "scrolls", "--json"}, &out, &out); status != 0 {
		t.Fatalf("status %d: %s", status, out.String())
	}
	var list []struct {
		Name  string
		Kinds []string
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) != 6 || len(list[0].Kinds) == 0 {
		t.Errorf("%+v %v", list, err)
	}
}
