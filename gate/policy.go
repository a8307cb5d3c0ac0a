package gate

import (
	"context"
	"embed"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// PolicyFiles are the files of a policy by their slash-separated path: .rego modules, tests in files whose names end in
// _test.rego, and at most one data.json at the top, which becomes the policy's data document.
type PolicyFiles map[string][]byte

// Bounds of a policy.
const (
	maxPolicyFiles = 256
	maxPolicyBytes = 8 << 20
)

//go:embed policy
var shipped embed.FS

// DefaultPolicy returns the policy that ships with the gate, for a site to run or to extend.
func DefaultPolicy() PolicyFiles {
	sub, err := fs.Sub(shipped, "policy")
	if err != nil {
		return nil // a policy of no files never compiles to a decision, so every command is denied
	}
	files, err := ReadPolicy(sub)
	if err != nil {
		return nil
	}
	return files
}

// ReadPolicy reads the .rego files below fsys and the data.json at its top. Other files are refused, so that nobody
// believes them to be part of the policy; names that begin with a dot, and .md files, are passed over.
func ReadPolicy(fsys fs.FS) (PolicyFiles, error) {
	const op = "gate.policy.read"
	files, total := PolicyFiles{}, 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || path.Ext(name) == ".md":
			return nil
		case path.Ext(name) != ".rego" && name != "data.json":
			return vaultmesh.Errorf(vaultmesh.Invalid, op, name, "not part of a policy").WithFix("a policy holds .rego files and one data.json at the top")
		case len(files) == maxPolicyFiles:
			return vaultmesh.Errorf(vaultmesh.TooLarge, op, name, "more than %d files", maxPolicyFiles)
		}
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(f, maxPolicyBytes+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if total += len(content); total > maxPolicyBytes {
			return vaultmesh.Errorf(vaultmesh.TooLarge, op, name, "more than %d bytes in all", maxPolicyBytes)
		}
		files[name] = content
		return nil
	})
	if err != nil {
		var known *vaultmesh.Error
		if errors.As(err, &known) {
			return nil, known
		}
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, "", "cannot be read").Because(err)
	}
	return files, nil
}

// Digest names the policy: SHA-256 over its files sorted by name, each name and content preceded by its length in eight
// bytes, big-endian.
func (p PolicyFiles) Digest() vaultmesh.Digest {
	names := p.names()
	b := []byte("vaultmesh.org/policy/v1\n")
	for _, name := range names {
		b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.BigEndian.AppendUint64(b, uint64(len(p[name])))
		b = append(b, p[name]...)
	}
	return vaultmesh.Sum(b)
}

func (p PolicyFiles) names() []string {
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// LoadPolicy replaces the policy by the files in dir, at once for all assessments that begin later. Where the new one
// does not compile or a test of it fails, the old one stays in force and the error says why.
func (g *Gate) LoadPolicy(ctx context.Context, dir string) error {
	files, err := ReadPolicy(os.DirFS(dir))
	if err != nil {
		return vaultmesh.Wrap(err, "gate.policy.load", dir)
	}
	return vaultmesh.Wrap(g.SetPolicy(ctx, files), "gate.policy.load", dir)
}

// SetPolicy replaces the policy by files as LoadPolicy does.
func (g *Gate) SetPolicy(ctx context.Context, files PolicyFiles) error {
	p, err := compilePolicy(ctx, files)
	if err != nil {
		return err
	}
	report, err := runTests(ctx, files)
	if err != nil {
		return err
	}
	if failed := report.Failed(); len(failed) > 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "gate.policy", failed[0].Name, "%d of %d tests of the policy fail: %s", len(failed), len(report.Tests), failed[0].Detail).
			WithFix("run the policy's tests and correct it")
	}
	g.policy.Store(p)
	return nil
}

// PolicyDigest returns the digest of the policy in force.
func (g *Gate) PolicyDigest() vaultmesh.Digest { return g.policy.Load().digest }
