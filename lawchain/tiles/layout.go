package tiles

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Layout of a published log: C2SP tlog-tiles.
const (
	Checkpoint = "checkpoint" // name of the signed note
	Width      = 256          // hashes of a full tile, 2^8

	// MaxCheckpoint and MaxBundle bound what a reader accepts, in bytes.
	MaxCheckpoint = 64 << 10
	MaxBundle     = Width * (2 + receipt.MaxEntry)

	hashSize = 32
)

// Tile names one object below tile/: hashes of a level, or entries. A tile of less than [Width] is partial: it is
// superseded by the full one.
type Tile struct {
	Entries bool
	Level   uint // of hash tiles: hash i of level l covers 256^l receipts
	N       uint64
	Width   uint64
}

// Path returns the name of the object: tile/<level>/<n>[.p/<width>] or tile/entries/<n>[.p/<width>].
func (t Tile) Path() string {
	kind := "entries"
	if !t.Entries {
		kind = strconv.FormatUint(uint64(t.Level), 10)
	}
	name := fmt.Sprintf("%03d", t.N%1000)
	for n := t.N / 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	if t.Width < Width {
		return fmt.Sprintf("tile/%s/%s.p/%d", kind, name, t.Width)
	}
	return "tile/" + kind + "/" + name
}

// full is the tile that supersedes a partial one.
func (t Tile) full() Tile {
	t.Width = Width
	return t
}

// ParsePath reads the name of an object; ok is false for everything that [Tile.Path] does not write.
func ParsePath(name string) (t Tile, ok bool) {
	rest, ok := strings.CutPrefix(name, "tile/")
	if !ok {
		return Tile{}, false
	}
	kind, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Tile{}, false
	}
	if t.Entries = kind == "entries"; !t.Entries {
		level, err := strconv.ParseUint(kind, 10, 6)
		if err != nil {
			return Tile{}, false
		}
		t.Level = uint(level)
	}
	t.Width = Width
	number, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := strconv.ParseUint(width, 10, 16)
		if err != nil || w == 0 || w >= Width {
			return Tile{}, false
		}
		t.Width = w
	}
	if len(number) > 32 {
		return Tile{}, false
	}
	for group := range strings.SplitSeq(number, "/") {
		d, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		if err != nil || t.N > (1<<63)/1000 {
			return Tile{}, false
		}
		t.N = t.N*1000 + d
	}
	return t, t.Path() == name
}

// Of returns the tiles that a reader of a tree of the given size needs at a level (entries: level 0 with entries set),
// by number: the n-th is partial where the tree ends in it. ok is false behind the end.
func Of(entries bool, level uint, n, size uint64) (t Tile, ok bool) {
	have := size >> (8 * level)
	if level > 7 || n*Width >= have {
		return Tile{}, false
	}
	return Tile{Entries: entries, Level: level, N: n, Width: min(Width, have-n*Width)}, true
}

// AppendEntry adds an entry of at most [receipt.MaxEntry] bytes to an entry bundle.
func AppendEntry(bundle, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
}

// Entries takes an entry bundle apart, which must hold exactly width entries. They share memory with the bundle.
func Entries(bundle []byte, width uint64) ([][]byte, error) {
	const op = "tiles.entries"
	if width > Width {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%d entries, a bundle has at most %d", width, Width)
	}
	out := make([][]byte, 0, width)
	for rest := bundle; len(rest) > 0; {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return out, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the bundle ends in the middle of entry %d", len(out))
		}
		if uint64(len(out)) == width {
			return out, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the bundle goes on behind its %d entries", width)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		out, rest = append(out, rest[2:end:end]), rest[end:]
	}
	if uint64(len(out)) != width {
		return out, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the bundle has %d of %d entries", len(out), width)
	}
	return out, nil
}
