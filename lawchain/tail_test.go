package lawchain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

// The receipts of the last tile are read at a start: one that is missing or another stops it, and says which.
func TestLoadRefusesADamagedTail(t *testing.T) {
	for name, change := range map[string]func(tx journal.Tx, key, envelope []byte){
		"gone":    func(tx journal.Tx, key, _ []byte) { tx.Delete(key) },
		"changed": func(tx journal.Tx, key, envelope []byte) { tx.Put(key, bytes.ToUpper(envelope)) },
	} {
		dir := t.TempDir()
		f := newLog(t, dir)
		for i := range 300 {
			f.append(t, journal.Commands, halt(i))
		}
		key := binary.BigEndian.AppendUint64([]byte("l/e/"), 270)
		if err := f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
			envelope, _, err := tx.Get(key)
			change(tx, key, envelope)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := f.j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := logs.Reopen(dir); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the journal keeps of telemetry beside the envelopes is a few records for 256 receipts.
func TestRecordsOfATile(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	const n = 4096
	drafts := make([]receipt.Draft, n)
	for i := range drafts {
		drafts[i] = receipt.Draft{Kind: receipt.TelemetryBatch, Subject: "telemetry/test", Actor: "node:a", Time: start, Body: []byte(fmt.Sprintf(`{"n":%d}`, i))}
	}
	f.append(t, journal.Telemetry, drafts...)
	records, bytes := 0, 0
	if err := f.j.Scan([]byte("l/"), []byte("l0"), func(k, v []byte) (bool, error) {
		if string(k[:4]) != "l/e/" {
			records, bytes = records+1, bytes+len(k)+len(v)
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records of %d bytes for %d receipts", records, bytes, n)
	if records > 5*n/256 || bytes > 40*n {
		t.Errorf("%d records of %d bytes for %d receipts", records, bytes, n)
	}
}

// between runs something once, after the first scan: another goroutine's commit.
type between struct {
	journal.Reader
	then func()
}

func (b *between) Scan(lo, hi []byte, fn func(k, v []byte) (bool, error)) error {
	err := b.Reader.Scan(lo, hi, fn)
	if then := b.then; then != nil {
		b.then = nil
		then()
	}
	return err
}

// A tile that is completed while its leaves are read does not lose them.
func TestLeavesWhileTheirTileIsCompleted(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	for i := range 200 {
		f.append(t, journal.Commands, halt(i))
	}
	r := &between{Reader: f.j, then: func() {
		for i := range 56 {
			f.append(t, journal.Commands, halt(200+i))
		}
	}}
	n := 0
	err := lawchain.NewStored(r).Nodes(0, 0, 200, func(uint64, []byte) (bool, error) { n++; return true, nil })
	if err != nil || n != 200 {
		t.Errorf("%d of 200 leaf hashes, %v", n, err)
	}
}
