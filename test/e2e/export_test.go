package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

// A real bundle leaves in other systems' forms: each COSE receipt holds for its own entry, and the graph tells the command.
func TestExport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	defer func() { s.stop(p) }()
	path := func(name string) string { return filepath.Join(s.dir, name) }
	trust := filepath.Join(s.cfg.Data, "trust.json")
	must := func(args ...string) string {
		t.Helper()
		code, out, errOut := s.cli(node.DevOperator, args...)
		if code != 0 {
			t.Fatalf("%s: status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
		}
		return out
	}
	// No grid is there, so nothing can be simulated: the command is denied, and that is a history too.
	_, out, errOut := s.cli(node.DevAgent, "propose", "gen-2", "setVoltage", `{"perUnit":1.04}`, "--json")
	var told struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || told.ID == "" {
		t.Fatalf("%v: %s%s", err, out, errOut)
	}
	must("bundle", told.ID, "--out", path("bundle.json"))
	must("export", "cose", path("bundle.json"), "--trust", trust, "--log-key", filepath.Join(s.cfg.Data, "keys", "log.key"), "--out", path("cose"))
	receipts, err := filepath.Glob(path("cose/*.cose"))
	if err != nil || len(receipts) < 2 {
		t.Fatalf("%v %v", receipts, err)
	}
	for i, r := range receipts {
		if out := must("export", "check", r, strings.TrimSuffix(r, ".cose")+".entry", "--trust", trust); !strings.Contains(out, "accepted") {
			t.Error(out)
		}
		other := receipts[(i+1)%len(receipts)]
		if code, out, _ := s.cli(node.DevOperator, "export", "check", r, strings.TrimSuffix(other, ".cose")+".entry", "--trust", trust); code != 1 {
			t.Errorf("%s with the entry of %s: status %d\n%s", r, other, code, out)
		}
	}
	// A log key that was retired before the receipt's tree says nothing about it.
	if code, out, errOut := s.cli(node.DevOperator, "export", "check", receipts[0], strings.TrimSuffix(receipts[0], ".cose")+".entry", "--trust", retire(t, trust, path("retired.json"))); code != 1 {
		t.Errorf("a retired key: status %d\n%s%s", code, out, errOut)
	}
	must("export", "prov", path("bundle.json"), "--trust", trust, "--out", path("history.jsonld"))
	graph, err := os.ReadFile(path("history.jsonld"))
	if err != nil || !json.Valid(graph) || !bytes.Contains(graph, []byte(":command:"+told.ID+`"`)) || !bytes.Contains(graph, []byte(`"state": "denied"`)) {
		t.Errorf("%v\n%s", err, graph)
	}
}

// retire writes a trust file that says that the log's key signed nothing after the first receipt.
func retire(t *testing.T, trust, out string) string {
	t.Helper()
	var file map[string]any
	text, err := os.ReadFile(trust)
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	var key receipt.Key
	if err == nil {
		key, err = receipt.ParseLogKey(file["log"].(map[string]any)["key"].(string))
	}
	if err != nil {
		t.Fatal(err)
	}
	file["retired"] = []receipt.RetiredKey{{ID: receipt.KeyID(key.Public), Until: 1}}
	if text, err = json.Marshal(file); err == nil {
		err = os.WriteFile(out, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
