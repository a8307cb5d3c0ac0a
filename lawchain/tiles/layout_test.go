package tiles_test

import (
	"bytes"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/tiles"
)

func TestPaths(t *testing.T) {
	for path, want := range map[string]tiles.Tile{
		"tile/0/000":                      {Width: 256},
		"tile/0/067":                      {N: 67, Width: 256},
		"tile/1/x001/x234/067.p/8":        {Level: 1, N: 1234067, Width: 8},
		"tile/entries/x001/234":           {Entries: true, N: 1234, Width: 256},
		"tile/entries/000.p/255":          {Entries: true, Width: 255},
		"tile/63/x999/x999/x999/x999/999": {Level: 63, N: 999_999_999_999_999, Width: 256},
	} {
		if got, ok := tiles.ParsePath(path); !ok || got != want {
			t.Errorf("%s is read as %+v %v", path, got, ok)
		}
		if got := want.Path(); got != path {
			t.Errorf("%+v is written as %s, want %s", want, got, path)
		}
	}
	for _, path := range []string{"", "checkpoint", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/0000", "tile/64/000", "tile/00/000", "tile/-1/000", "tile/0/001/002",
		"tile/0/x001", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/entries/abc", "tile/0/x999/x999/x999/x999/x999/x999/x999/999"} {
		if got, ok := tiles.ParsePath(path); ok {
			t.Errorf("%q is read as %+v", path, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/entries/x001/234.p/7", "tile/1/x001/x234/067", "checkpoint"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := tiles.ParsePath(s); ok && p.Path() != s {
			t.Fatalf("%q is read as %+v, which is %q", s, p, p.Path())
		}
	})
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte{}, uint64(0))
	f.Add(tiles.AppendEntry(tiles.AppendEntry(nil, []byte("one")), nil), uint64(2))
	f.Add([]byte{0, 3, 1}, uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, width uint64) {
		entries, err := tiles.Entries(b, width)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = tiles.AppendEntry(again, e)
		}
		if !bytes.Equal(again, b) || uint64(len(entries)) != width {
			t.Fatalf("%d of %d entries, %x is written again as %x", len(entries), width, b, again)
		}
	})
}
