package audit

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/peers"
	"vaultmesh.org/vaultmesh/test/sample"
)

// extracted takes the sample's bundle apart into a new folder.
func extracted(t *testing.T) string {
	t.Helper()
	w := sample.New(t)
	b, err := receipt.DecodeBundle(w.Pack(w.Everything()))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Extract(b, w.Trust(), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// section returns the commands that README.txt gives under a number, as a reader would paste them.
func section(t *testing.T, dir, number string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+number+". ")
	if !ok {
		t.Fatalf("README.txt has no section %s", number)
	}
	var script []string
	inside := false
	for line := range strings.Lines(rest) {
		if len(line) > 1 && line[0] >= '0' && line[0] <= '9' && strings.Contains(line[:3], ". ") {
			break
		}
		command := strings.HasPrefix(line, "   ")
		for _, tool := range []string{"openssl", "for s", "python3", "node", "cd "} {
			inside = inside || command && strings.HasPrefix(strings.TrimSpace(line), tool)
		}
		if !inside || !command {
			inside = false
			continue
		}
		script = append(script, strings.TrimRight(line, "\n"))
	}
	return strings.Join(script, "\n")
}

// foreign is a check of README.txt by a tool that is not ours, and the files whose every change it must notice.
type foreign struct {
	number string
	tool   func(t *testing.T) (path string, env []string) // skips where it is absent
	edit   *strings.Replacer
	count  int // lines that say that it holds
	says   string
	files  []string
}

func onPath(name string) func(*testing.T) (string, []string) {
	return func(t *testing.T) (string, []string) {
		path, err := exec.LookPath(name)
		if err != nil {
			if os.Getenv("VAULTMESH_REQUIRE_PEERS") == "1" {
				t.Fatal(name + " is not installed")
			}
			t.Skip(name + " is not installed")
		}
		return path, nil
	}
}

// run executes a section's commands; ok is whether the tool accepted, as often as it must.
func (f foreign) run(t *testing.T, dir, script string, env []string) (out string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	b, err := cmd.CombinedOutput()
	return string(b), err == nil && strings.Count(string(b), f.says) == f.count
}

// TestForeignTools runs the commands of README.txt as they stand: tools that VaultMesh did not write accept every part of a
// bundle, and notice one changed byte of each.
func TestForeignTools(t *testing.T) {
	first, main := "anchors/0000000020", "anchors/0000000022"
	python := func(pkg, module string) func(*testing.T) (string, []string) {
		return func(t *testing.T) (string, []string) { return peers.Python(t, pkg, module), nil }
	}
	const verified, stamped = "Signature Verified Successfully", "Verification: OK"
	for name, f := range map[string]foreign{
		"manifest by openssl":                     {number: "1", tool: onPath("openssl"), says: verified, count: 1, files: []string{"manifest.message", "manifest.sig"}},
		"checkpoints and cosignatures by openssl": {number: "2", tool: onPath("openssl"), says: verified, count: 6, files: []string{"checkpoint.body", first + "/checkpoint.body"}},
		"receipts by openssl":                     {number: "3", tool: onPath("openssl"), says: verified, count: 18, files: []string{"receipts/0000000005.message", "receipts/0000000013.sig"}},
		"inclusion and consistency by python":     {number: "4", tool: onPath("python3"), says: "of size 22 with root", count: 1, files: []string{"receipts/0000000005.dsse.json", "receipts/0000000013.tlog-proof", first + "/consistency"}},
		"main time-stamp by openssl":              {number: "5", tool: onPath("openssl"), edit: strings.NewReplacer("anchors/N", main), says: stamped, count: 1, files: []string{"checkpoint.body"}},
		"first time-stamp by openssl": {number: "5", tool: onPath("openssl"), edit: strings.NewReplacer("anchors/N", first, "checkpoint.body", first+"/checkpoint.body"), says: stamped, count: 1,
			files: []string{first + "/checkpoint.body"}},
		"Bitcoin by python3-bitcoinlib and python3-opentimestamps": {number: "6", tool: python("python3-opentimestamps", "opentimestamps"), edit: strings.NewReplacer("anchors/N", first, "checkpoint.body", first+"/checkpoint.body"),
			says: "block ", count: 2, files: []string{first + "/checkpoint.body", first + "/bitcoin.ots", first + "/bitcoin.json"}},
		"Ethereum by EthereumJS": {number: "7", tool: func(t *testing.T) (string, []string) {
			node, _ := onPath("node")(t)
			return node, []string{"MODULES=" + filepath.Join(peers.EthereumMPT(t), "node_modules")}
		}, edit: strings.NewReplacer("anchors/N", first, "checkpoint.body", first+"/checkpoint.body"), says: "in block 0x", count: 1, files: []string{first + "/checkpoint.body", first + "/ethereum.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			tool, env := f.tool(t)
			dir := extracted(t)
			for _, e := range env {
				if modules, ok := strings.CutPrefix(e, "MODULES="); ok {
					if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
						t.Fatal(err)
					}
				}
			}
			script := section(t, dir, f.number)
			if f.edit != nil {
				script = f.edit.Replace(script)
			}
			if strings.HasSuffix(filepath.Base(tool), "python3") {
				script = strings.ReplaceAll(script, "python3 tools", tool+" tools")
			}
			if out, ok := f.run(t, dir, script, env); !ok {
				t.Fatalf("refused:\n%s\n%s", script, out)
			}
			for _, file := range f.files {
				f.tamper(t, dir, file, script, env)
			}
		})
	}
}

// tamper changes one byte of a file at three places; the tool must notice each.
func (f foreign) tamper(t *testing.T, dir, file, script string, env []string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(file))
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	places := []int{len(honest) / 3, len(honest) * 4 / 5}
	if strings.HasSuffix(file, ".json") && !strings.HasPrefix(file, "receipts/") { // a digit of a value, not a name that a reader skips
		places = places[:0]
		for _, member := range []string{`"header":"`, `"tx":"`, `"nodes":["`} {
			if i := bytes.Index(honest, []byte(member)); i >= 0 {
				places = append(places, i+len(member)+30)
			}
		}
	}
	if file == "receipts/0000000013.tlog-proof" || strings.HasSuffix(file, "/consistency") {
		places = []int{len(honest) / 8, bytes.IndexByte(honest, '\n') + 5}
	}
	if f.number == "3" { // each run is one process of openssl for each receipt
		places = places[:1]
	}
	for _, i := range places {
		bad := bytes.Clone(honest)
		if bad[i] == '0' {
			bad[i] = '1'
		} else {
			bad[i] = bad[i]&^1 | ^bad[i]&1
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, ok := f.run(t, dir, script, env); ok {
			t.Errorf("byte %d of %s may be changed from %q to %q:\n%s", i, file, honest[i], bad[i], out)
		}
	}
	if err := os.WriteFile(path, honest, 0o600); err != nil {
		t.Fatal(err)
	}
}
