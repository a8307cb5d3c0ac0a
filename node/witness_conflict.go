package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// A witness may lie, and its lies must not fill the log or the disk. What it can prove, it can prove only with a note that
// this log's key signed: each such tree is reported once. What it cannot prove is reported once until the witness agrees
// again, and at most once in unprovedEvery, for each witness and finding: the alarm stands meanwhile.
const (
	unprovedEvery = 24 * time.Hour
	maxProved     = 1000 // receipts and files; nobody needs more
	maxUnproved   = 100  // files; receipts are bounded by unprovedEvery
)

const (
	provedConflicts   = "n/conflict/p/"
	unprovedConflicts = "n/conflict/u/"
)

// conflictKinds are all findings of a feeder.
var conflictKinds = []string{"equivocation", "fork", "rollback"}

// unprovedKey is where the last unproved conflict with a witness is kept: its time in seconds and, in the last byte, 1 once
// the witness agreed after it.
func unprovedKey(name, found string) []byte {
	id := sha256.Sum256([]byte(found + "\n" + name))
	return append([]byte(unprovedConflicts), id[:]...)
}

func encodeUnproved(at int64, cleared bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(at))
	if cleared {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeUnproved(b []byte) (at int64, cleared bool) {
	if len(b) != 9 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), b[8] == 1
}

// reportConflict writes the receipt of a conflict that is new, and keeps both notes beside it.
func (n *Node) reportConflict(ctx context.Context, c receipt.ConflictBody, ours, held []byte) error {
	if c.Proved {
		return n.reportProved(ctx, c, ours, held)
	}
	now, key := n.now().UTC(), unprovedKey(c.Witness, c.Found)
	old, known, err := n.journal.Get(key)
	if err != nil {
		return err
	}
	if at, cleared := decodeUnproved(old); known && (!cleared || now.Sub(time.Unix(at, 0)) < unprovedEvery) {
		return nil
	}
	body, err := receipt.Body(c)
	if err != nil {
		return err
	}
	id := sha256.Sum256(body)
	if err := n.keepNotes(c, ours, held, unprovedFile+hex.EncodeToString(id[:16])); err != nil {
		return err
	}
	return n.conflictReceipt(ctx, c, key, old, encodeUnproved(now.Unix(), false))
}

func (n *Node) reportProved(ctx context.Context, c receipt.ConflictBody, ours, held []byte) error {
	// Whoever holds a note can add signature lines of their own: what was signed is what counts.
	text, err := receipt.CheckpointBody(held)
	if err != nil {
		return err
	}
	same, err := receipt.Body(receipt.ConflictBody{Witness: c.Witness, Found: c.Found, Origin: c.Origin, TheirSize: c.TheirSize, Theirs: vaultmesh.Sum(text), Proved: true})
	if err != nil {
		return err
	}
	id := sha256.Sum256(same)
	key := append([]byte(provedConflicts), id[:]...)
	count, known := 0, false
	err = n.journal.Scan([]byte(provedConflicts), append([]byte(provedConflicts), bytes.Repeat([]byte{0xff}, 33)...), func(k, _ []byte) (bool, error) {
		count++
		known = known || bytes.Equal(k, key)
		return true, nil
	})
	if err != nil || known || count >= maxProved {
		return err
	}
	if err := n.keepNotes(c, ours, held, hex.EncodeToString(id[:16])); err != nil {
		return err
	}
	return n.conflictReceipt(ctx, c, key, nil, []byte{1})
}

// conflictReceipt appends the receipt where the record under key is still as it was, and changes it.
func (n *Node) conflictReceipt(ctx context.Context, c receipt.ConflictBody, key, old, next []byte) error {
	body, err := receipt.Body(c)
	if err != nil {
		return err
	}
	return n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		if now, _, err := tx.Get(key); err != nil || !bytes.Equal(now, old) {
			return err
		}
		tx.Put(key, next)
		_, _, err := n.log.Append(tx, receipt.Draft{Kind: receipt.WitnessConflict, Subject: receipt.WitnessSubject(n.cfg.Domain), Actor: n.actor, Time: n.now().UTC(), Outcome: c.Found, Body: body})
		return err
	})
}

// clearConflicts notes that a witness agrees again: its next conflict is a new one.
func (n *Node) clearConflicts(ctx context.Context, name string) error {
	for _, found := range conflictKinds {
		key := unprovedKey(name, found)
		b, known, err := n.journal.Get(key)
		if err != nil {
			return err
		}
		at, cleared := decodeUnproved(b)
		if !known || cleared {
			continue
		}
		err = n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
			tx.Put(key, encodeUnproved(at, true))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unprovedFile begins the names of the files that prove nothing.
const unprovedFile = "unproved-"

// keepNotes writes the notes of a conflict about this log, for `vaultmesh witness conflicts`.
func (n *Node) keepNotes(c receipt.ConflictBody, ours, held []byte, name string) error {
	dir := filepath.Join(n.cfg.Data, "witness-alarms", "conflicts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "witness.conflict", dir, "cannot create the folder").Because(err)
	}
	if !c.Proved {
		files, err := os.ReadDir(dir)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "witness.conflict", dir, "cannot read the folder").Because(err)
		}
		kept := 0
		for _, f := range files {
			if strings.HasPrefix(f.Name(), unprovedFile) {
				kept++
			}
		}
		if kept >= maxUnproved {
			return nil
		}
	}
	b, err := json.MarshalIndent(witness.Conflict{Origin: c.Origin, Size: c.TheirSize, Seen: n.now().UTC(), Found: c.Found, Witness: c.Witness, Held: string(held), Offered: string(ours)}, "", "  ")
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "witness.conflict", "", "cannot encode").Because(err)
	}
	return writeFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o600)
}
