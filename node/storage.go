package node

import (
	"context"
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// storage is where the log is kept for others: published, and archived where that is configured.
type storage struct {
	place    bucket.Bucket
	tiles    *tiles.Publisher
	keeping  bucket.Bucket // nil: no archive
	archiver *archive.Archiver
}

// startWithin bounds what a bucket may cost the start of a node.
const startWithin = 3 * time.Second

// openStorage opens the places. A place that holds what this log does not extend stops the start; one that does not
// answer, or refuses, does not: it is asked again for as long as the node runs.
func (n *Node) openStorage(ctx context.Context) (err error) {
	c := n.cfg.Log
	if n.storage.place, err = bucket.Open(ctx, c.Tiles); err != nil {
		return err
	}
	n.storage.tiles = tiles.New(tiles.Options{Log: n.log, Bucket: n.storage.place, Interval: c.Interval, Grace: c.Grace, Timeout: c.Timeout, Parallel: c.Parallel, Logger: n.l})
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := n.storage.tiles.Check(ctx); err != nil {
		if kind := vaultmesh.KindOf(err); kind == vaultmesh.Corrupt || kind == vaultmesh.Invalid {
			return err
		}
		n.l.Warn("the place of the published log cannot be asked; it is tried again", "bucket", n.storage.place.String(), "error", err)
	}
	return nil
}

// openArchive opens the archive. It needs the keys with which the node goes on.
func (n *Node) openArchive(ctx context.Context) (err error) {
	c := n.cfg.Archive
	if c.URL == "" {
		return nil
	}
	if n.storage.keeping, err = bucket.Open(ctx, c.URL); err != nil {
		return err
	}
	n.storage.archiver = archive.New(archive.Options{Log: n.log, Bucket: n.storage.keeping, Signer: signer(n.keys.receipts), Interval: c.Interval,
		Lock: archive.Lock(c.Lock), Retention: c.Retention, Governed: c.Mode == "governance", Timeout: c.Timeout, Proofs: n.archivedProofs, Now: n.now, Logger: n.l})
	return nil
}

// publish publishes what the start of the node added, as far as the place answers in time.
func (n *Node) publish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := n.storage.tiles.Publish(ctx); err != nil {
		n.l.Warn("cannot publish the log yet", "bucket", n.storage.place.String(), "error", err)
	}
}

// archivedProofs returns the proofs of the anchors that were verified since the segment before, each with its checkpoint.
func (n *Node) archivedProofs(of archive.ProofsOf) (parts []archive.Part, err error) {
	verified, err := n.anchors.VerifiedSince(of.Since)
	if err != nil {
		return nil, err
	}
	stamps, noted := map[uint64]int{}, map[uint64]bool{}
	for _, a := range verified {
		if !noted[a.Size] {
			noted[a.Size] = true
			parts = append(parts, archive.Part{Name: fmt.Sprintf("%d/checkpoint", a.Size), Data: a.Note})
		}
		name := fmt.Sprintf("%d/%s.json", a.Size, a.Kind)
		if a.Kind == receipt.AnchorRFC3161 {
			name = fmt.Sprintf("%d/rfc3161-%d.tsr", a.Size, stamps[a.Size])
			stamps[a.Size]++
		}
		parts = append(parts, archive.Part{Name: name, Data: a.Proof})
	}
	return parts, nil
}

func (s *storage) close() {
	if s.place != nil {
		_ = s.place.Close()
	}
	if s.keeping != nil {
		_ = s.keeping.Close()
	}
}
