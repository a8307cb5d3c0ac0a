package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"vaultmesh.org/vaultmesh/journal/durable"
)

// synced returns the folders that f synced, with what was in each of them at that moment.
func synced(t *testing.T, f func() error) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	defer durable.Watch(func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			got[dir] = append(got[dir], e.Name())
		}
	})()
	if err := f(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFilesAreNamedDurably(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"replace": durable.Replace, "create": durable.Create} {
		_ = os.Remove(path)
		got := synced(t, func() error { return write(path, []byte(name), 0o600) })
		b, err := os.ReadFile(path)
		if err != nil || string(b) != name || !slices.Equal(got[dir], []string{"a"}) {
			t.Errorf("%s: %q %v, synced %v", name, b, err, got)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
	if err := durable.Create(path, nil, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that exists: %v", err)
	}
	if err := durable.Replace(filepath.Join(dir, "absent", "a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v %v", left, err)
	}
}

func TestFoldersAreNamedDurably(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	got := synced(t, func() error { return durable.Folder(deep, 0o700) })
	for d := deep; d != dir; d = filepath.Dir(d) {
		if !slices.Contains(got[filepath.Dir(d)], filepath.Base(d)) {
			t.Errorf("%s was not synced into the folder above it: %v", d, got)
		}
	}
	if got := synced(t, func() error { return durable.Folder(deep, 0o700) }); !slices.Contains(got[filepath.Dir(deep)], "c") {
		t.Errorf("one that was there: %v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"file", "file/x", "file/x/y"} {
		if err := durable.Folder(filepath.Join(dir, path), 0o700); err == nil {
			t.Errorf("%s: a folder in the place of a file", path)
		}
	}
}
