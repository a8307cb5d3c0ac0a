package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// What the state was at a size of the log is proved to who has nothing but pinned keys: presence, absence, and the past,
// across a restart.
func TestStateIsProvable(t *testing.T) {
	data := t.TempDir()
	n := start(t, gridConfig(data))
	closed := false
	defer func() {
		if !closed {
			_ = n.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, data, DevOperator)
	rooted(ctx, t, n, n.log.Checkpoint().Size)
	first, _ := n.state.Newest()

	early, err := op.SubjectState(ctx, receipt.HaltSubject("dev"), 0)
	if err != nil || early.Present {
		t.Fatalf("%+v %v", early, err)
	}
	if _, err := op.Halt(ctx, "a drill"); err != nil {
		t.Fatal(err)
	}
	rooted(ctx, t, n, n.log.Checkpoint().Size)
	late, err := op.SubjectState(ctx, receipt.HaltSubject("dev"), 0)
	if err != nil || !late.Present || late.Size <= early.Size {
		t.Fatalf("%+v %v", late, err)
	}
	tw, err := op.TwinState(ctx, "load-9", "megawatts", 0)
	if err != nil || !tw.Present {
		t.Fatalf("%+v %v", tw, err)
	}
	if _, err := op.TwinState(ctx, "load-9", "", uint64(first.Receipt)); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("before the first root: %v", err)
	}
	for name, ask := range map[string]func(size uint64) error{
		"proof": func(size uint64) error {
			_, err := op.SubjectState(ctx, receipt.HaltSubject("dev"), size)
			return err
		},
		"bundle": func(size uint64) error {
			_, err := op.BundleOf(ctx, httpapi.BundleQuery{State: []string{"twin/load-9"}, StateAt: size})
			return err
		},
	} {
		if err := ask(n.log.Checkpoint().Size); err != nil {
			t.Errorf("%s at the log's size: %v", name, err)
		}
		if err := ask(1 << 40); vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "the log has size ") {
			t.Errorf("%s beyond the log: %v", name, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, gridConfig(data))
	op = clientOf(t, data, DevOperator)
	defer func() {
		closed = true
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	trust := pinned(t, data)
	for name, c := range map[string]struct {
		key     string
		at      uint64
		present bool
	}{
		"a twin":             {"twin/load-9", 0, true},
		"no twin":            {"twin/load-99", 0, false},
		"a twin in the past": {"twin/load-9", uint64(first.Receipt) + 1, true},
		"no halt then":       {"subject/halt/dev", uint64(early.Receipt) + 1, false},
		"a halt later":       {"subject/halt/dev", uint64(late.Receipt) + 1, true},
		"never revoked":      {"subject/" + receipt.CapabilitySubject(vaultmesh.Sum([]byte("x"))), 0, false},
	} {
		file, err := op.BundleOf(ctx, httpapi.BundleQuery{State: []string{c.key}, StateAt: c.at})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := receipt.Verify(file, trust)
		if !r.OK || len(r.States) != 1 {
			t.Fatalf("%s: %d states %+v", name, len(r.States), r.Failed())
		}
		s := r.States[0]
		if s.Key != c.key || s.Present != c.present || c.at > 0 && uint64(s.Receipt) >= c.at || s.Present == (s.Document == nil) {
			t.Errorf("%s: %+v", name, s)
		}
		if strings.HasPrefix(c.key, "twin/") && c.present {
			if doc, err := state.OpenTwin(s.Document); err != nil || doc.ID != "load-9" {
				t.Errorf("%s: %+v %v", name, doc, err)
			}
		}
	}
	if _, err := op.BundleOf(ctx, httpapi.BundleQuery{State: []string{"twin/load-9"}, StateAt: 1}); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("a file of before the first root: %v", err)
	}
}

// Receipts are found by what people know: who, what, which twin, when, which part of the log.
func TestReceiptsAreFound(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, data)
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, data, DevOperator)
	began := time.Now()
	cmd, err := clientOf(t, data, DevAgent).Propose(ctx, control.Proposal{Twin: "load-9", Command: "shed", Args: json.RawMessage(`{"fraction":0.5}`), IdempotencyKey: "find-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := op.Halt(ctx, "a drill"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command vaultmesh.CommandID
		scroll  string
		q       lawchain.Search
		want    []string
	}{
		"twin":    {"", "", lawchain.Search{Twin: "load-9"}, []string{"command.denied", "command.assessed", "command.proposed", "twin.defined"}},
		"command": {cmd.ID, "", lawchain.Search{}, []string{"command.denied", "command.assessed", "command.proposed"}},
		"actor":   {"", "", lawchain.Search{Actor: "operator:ada"}, []string{"halt.set"}},
		"scroll":  {"", "automation", lawchain.Search{}, []string{"halt.set", "command.denied", "command.assessed", "command.proposed"}},
		"kinds":   {"", "", lawchain.Search{Kinds: []string{"halt.set", "domain.genesis"}}, []string{"halt.set", "domain.genesis"}},
		"time":    {"", "", lawchain.Search{From: began, Actor: "agent:dispatcher"}, []string{"command.proposed"}},
		"before":  {"", "", lawchain.Search{To: began, Kinds: []string{"halt.set"}}, nil},
	} {
		page, err := op.Search(ctx, c.command, c.scroll, c.q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, x := range page.Receipts {
			r, err := receipt.Open(x.Envelope)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Kind)
		}
		if !slices.Equal(got, c.want) || page.Next != "" || page.Unindexed != 0 {
			t.Errorf("%s: %v, want %v; next %q", name, got, c.want, page.Next)
		}
	}
}

// After an erasure every proof verifies and the words are nowhere in the data folder, nor is the key.
func TestErasedDataIsGone(t *testing.T) {
	data := t.TempDir()
	n := start(t, gridConfig(data))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, data, DevOperator)
	const words = "Quentin Zaphod has the flu"
	if _, err := op.Halt(ctx, words); err != nil {
		t.Fatal(err)
	}
	if h, err := op.HaltState(ctx); err != nil || h.Reason != words {
		t.Fatalf("%+v %v", h, err)
	}
	subject := receipt.HaltSubject(n.cfg.Domain)
	ask := httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{subject}}}
	plain, err := op.BundleOf(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	ask.Disclose = true
	disclosed, err := op.BundleOf(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	trust := pinned(t, data)
	check := func(file []byte, shows bool) {
		t.Helper()
		if r := receipt.Verify(file, trust); !r.OK {
			t.Fatalf("%+v", r.Failed())
		}
		b, err := receipt.DecodeBundle(file)
		if err != nil {
			t.Fatal(err)
		}
		private := slices.ContainsFunc(b.Parts, func(p receipt.Part) bool {
			return p.Type == receipt.PartPrivate && bytes.Contains(p.Data, []byte(words))
		})
		if private != shows {
			t.Errorf("discloses the words: %v, want %v", private, shows)
		}
	}
	check(plain, false)
	check(disclosed, true)
	keys, err := filepath.Glob(filepath.Join(data, "private", "*.key"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v %v", keys, err)
	}
	key, err := os.ReadFile(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clientOf(t, data, DevAgent).Erase(ctx, "operator:ada", "no"); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("an agent erases: %v", err)
	}
	erased, err := op.Erase(ctx, "operator:ada", "asked by letter")
	if err != nil || erased.Receipt.Index == 0 {
		t.Fatalf("%+v %v", erased, err)
	}
	if h, err := op.HaltState(ctx); err != nil || h.Reason != "(erased)" {
		t.Errorf("%+v %v", h, err)
	}
	after, err := op.BundleOf(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	check(after, false)
	check(plain, false)
	check(disclosed, true) // who was given the words has them: a bundle that was handed out is out of reach
	proof, err := op.BundleOf(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{receipt.PrivateSubject("operator:ada")}}})
	if err != nil {
		t.Fatal(err)
	}
	check(proof, false)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, key) || bytes.Contains(b, []byte("Zaphod")) {
			t.Errorf("%s holds the key or the words", strings.TrimPrefix(path, data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
