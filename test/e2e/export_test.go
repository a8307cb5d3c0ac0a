package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/node"
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
	must("export", "prov", path("bundle.json"), "--trust", trust, "--out", path("history.jsonld"))
	graph, err := os.ReadFile(path("history.jsonld"))
	if err != nil || !json.Valid(graph) || !bytes.Contains(graph, []byte(":command:"+told.ID+`"`)) || !bytes.Contains(graph, []byte(`"state": "denied"`)) {
		t.Errorf("%v\n%s", err, graph)
	}
}
