package governance

import (
	"path/filepath"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// maxListed bounds the files of one manifest.
const maxListed = 50_000

// manifest judges a list of files and hashes: the root follows from the list, and the files are what was listed.
func (m *importer) manifest(name string, o object) {
	m.report.Entries = append(m.report.Entries, Entry{Path: name, Type: "hash manifest", Signature: Missing})
	root := text(o, "merkleRoot")
	m.roots[root] = true
	files, _ := o["files"].([]any)
	if len(files) > maxListed {
		m.report.find(ManifestBroken, name, "it lists more than %d files", maxListed)
		return
	}
	var hashes []string
	var same, changed, gone, refused int
	for _, x := range files {
		f, _ := x.(object)
		hash, listed := text(f, "hash"), text(f, "path")
		if !isHash(hash) || listed == "" {
			m.report.find(ManifestBroken, name, "an entry without a path or a SHA-256: %.80q", listed)
			return
		}
		hashes = append(hashes, hash)
		switch data, err := m.listed(o, listed); {
		case err != nil && !m.present(o, listed):
			gone++
		case err != nil:
			refused++
		case sum(data) == hash:
			same++
		default:
			changed++
		}
	}
	if got := toyRoot(hashes); root != got {
		m.report.find(ManifestBroken, name, "its root %.80q does not follow from the %d hashes that it lists: they give %s", root, len(files), got)
	}
	if changed+gone+refused > 0 {
		m.report.find(ManifestDrift, name, "of %d files, %d are as listed, %d were changed, %d are gone, %d cannot be read", len(files), same, changed, gone, refused)
	}
}

// place is where a listed file lies, below the manifest's own root.
func place(o object, listed string) (string, bool) {
	p := filepath.Join(text(o, "root"), listed)
	if listed == text(o, "root") { // a manifest of one file names it twice
		p = listed
	}
	return p, filepath.IsLocal(p) && !strings.Contains(p, `\`)
}

func (m *importer) listed(o object, listed string) ([]byte, error) {
	p, local := place(o, listed)
	if !local {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, "governance.read", listed, "the path leads out of the folder")
	}
	return m.get(p, maxOther)
}

func (m *importer) present(o object, listed string) bool {
	p, local := place(o, listed)
	if !local {
		return true
	}
	_, err := m.root.Lstat(p)
	return err == nil
}

// toyRoot is the tree of that implementation: sorted hashes in hexadecimal, joined in pairs as text, the last repeated.
func toyRoot(hashes []string) string {
	if len(hashes) == 0 {
		return sum([]byte("empty"))
	}
	level := slices.Clone(hashes)
	slices.Sort(level)
	for len(level) > 1 {
		var next []string
		for i := 0; i < len(level); i += 2 {
			next = append(next, sum([]byte(level[i]+level[min(i+1, len(level)-1)])))
		}
		level = next
	}
	return level[0]
}
