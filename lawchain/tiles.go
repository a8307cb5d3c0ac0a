package lawchain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/formats/log"

	"vaultmesh.org/vaultmesh"
)

// Tiles publishes the log in the C2SP tlog-tiles layout: tile/<level>/<n>, tile/entries/<n> and checkpoint. It follows
// the durable checkpoints, never leads them, and resumes after a crash from the checkpoint that it finds in its folder.
type Tiles struct {
	log      *Log
	dir      string
	interval time.Duration // shortest time between two publications
	l        *slog.Logger
	size     uint64 // owned by Run: size of the published tree
}

// tileWidth is the number of hashes in a full tile, 2^8 (C2SP tlog-tiles).
const tileWidth = 256

// NewTiles opens the folder. It fails with kind Corrupt where the folder holds a checkpoint that this log does not
// extend: the journal was rolled back or the folder belongs to another log. That is never repaired silently.
func NewTiles(l *Log, dir string, interval time.Duration, logger *slog.Logger) (*Tiles, error) {
	const op = "lawchain.tiles"
	t := &Tiles{log: l, dir: dir, interval: interval, l: logger}
	// What a killed process left half-written is in this folder alone.
	if err := errors.Join(os.RemoveAll(t.temporary()), os.MkdirAll(t.temporary(), 0o755)); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot create the folder").Because(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot read the checkpoint").Because(err)
	}
	cp, _, _, err := log.ParseCheckpoint(raw, l.Origin(), l.o.Verifier)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "the published checkpoint is not signed by this log's key").Because(err).WithFix("choose another folder for the tiles")
	}
	root, err := l.RootAt(cp.Size)
	if vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "%d receipts were published, the journal has fewer: it was rolled back or damaged", cp.Size).
			WithFix("restore the newest journal; a log that forgets must not go on")
	}
	if err != nil {
		return nil, err
	}
	if root != vaultmesh.Digest(cp.Hash) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "the published tree of %d receipts is not a prefix of the journal's: the two have forked", cp.Size).
			WithFix("keep both folders as evidence and restore the journal that was published")
	}
	t.size = cp.Size
	return t, nil
}

// Run publishes until ctx ends, then once more. A failure is logged and tried again; it never stops the node.
func (t *Tiles) Run(ctx context.Context) {
	for {
		if err := t.Publish(); err != nil {
			t.l.Warn("cannot publish the log", "dir", t.dir, "error", err)
		}
		timer := time.NewTimer(t.interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			if err := t.Publish(); err != nil {
				t.l.Warn("cannot publish the log", "dir", t.dir, "error", err)
			}
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
		case <-t.log.notify:
		}
	}
}

// Publish writes what the latest durable checkpoint added: entries, then tiles, then the checkpoint, each synced.
func (t *Tiles) Publish() error {
	cp := t.log.Checkpoint()
	if cp == nil || cp.Size <= t.size {
		return nil
	}
	for n := t.size / tileWidth; n*tileWidth < cp.Size; n++ {
		if err := t.entries(n, cp.Size); err != nil {
			return err
		}
	}
	for level := uint(0); cp.Size>>(8*level) > 0; level++ {
		old, size := t.size>>(8*level), cp.Size>>(8*level)
		for n := old / tileWidth; n*tileWidth < size; n++ {
			if err := t.tile(level, n, min(tileWidth, size-n*tileWidth)); err != nil {
				return err
			}
		}
	}
	if err := t.write("checkpoint", cp.Note); err != nil {
		return err
	}
	t.size = cp.Size
	return nil
}

func (t *Tiles) entries(n, size uint64) error {
	width := min(tileWidth, size-n*tileWidth)
	var b []byte
	for i := n * tileWidth; i < n*tileWidth+width; i++ {
		e, err := t.log.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			return err
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return t.put("tile/entries/", n, width, b)
}

func (t *Tiles) tile(level uint, n, width uint64) error {
	b := make([]byte, 0, width*32)
	lo := keyNode(8*level, n*tileWidth)
	hi := keyNode(8*level, n*tileWidth+width)
	err := t.log.reader().Scan(lo, hi, func(_, v []byte) (bool, error) {
		b = append(b, v...)
		return true, nil
	})
	if err != nil {
		return err
	}
	if uint64(len(b)) != width*32 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.tiles", t.dir, "tile %d/%d has %d of %d hashes in the journal", level, n, len(b)/32, width)
	}
	return t.put(fmt.Sprintf("tile/%d/", level), n, width, b)
}

// put writes a full tile, or a partial one with its width in the name; a full one makes its partials superfluous.
func (t *Tiles) put(prefix string, n, width uint64, b []byte) error {
	name := prefix + tileName(n)
	if width < tileWidth {
		return t.write(fmt.Sprintf("%s.p/%d", name, width), b)
	}
	if err := t.write(name, b); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(t.dir, filepath.FromSlash(name+".p")))
}

// tileName encodes a tile number in groups of three digits, all but the last with an x in front (C2SP tlog-tiles).
func tileName(n uint64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

func (t *Tiles) temporary() string { return filepath.Join(t.dir, ".tmp") }

// write replaces a file atomically and durably.
func (t *Tiles) write(name string, b []byte) error {
	path := filepath.Join(t.dir, filepath.FromSlash(name))
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(t.temporary(), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
