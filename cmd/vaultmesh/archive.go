package main

import (
	"encoding/json"
	"errors"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
)

type archiveCmd struct {
	Restore archiveRestoreCmd `cmd:"" help:"Write the log of an archive into a new folder, as a published log."`
}

type archiveRestoreCmd struct {
	Archive string `arg:"" help:"Address of the archive: s3://…, gs://… or a folder."`
	To      string `arg:"" help:"New folder (or bucket) for the log."`
	Trust   string `help:"Trust file: the keys that you pin." required:"" type:"path"`
	JSON    bool   `help:"Print one JSON object."`
}

// Run restores, then checks what was restored: status 0 sound, 1 damaged, 2 unusable.
func (c *archiveRestoreCmd) Run(a *app) error {
	p, err := pins(c.Trust, "")
	if err != nil {
		return err
	}
	src, err := bucket.Open(a.ctx, c.Archive)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := bucket.Open(a.ctx, c.To)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	done, err := archive.Restore(a.ctx, src, dst, p.Keys)
	if kind := vaultmesh.KindOf(err); err != nil && (kind == vaultmesh.Unavailable || kind == vaultmesh.NotFound || kind == vaultmesh.Conflict) {
		explain(a.errOut, err)
		return status(exitUnusable)
	}
	if err != nil {
		return err
	}
	r, err := fsck.Published(a.ctx, dst, fsck.Options{Pins: p})
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(a.out).Encode(struct {
			Restored    *archive.Restored `json:"restored"`
			Check       *fsck.Report      `json:"check"`
			NotRestored string            `json:"not_restored"`
		}{done, r, archive.NotRestored})
	} else {
		s := newSheet(a.out)
		s.say("", "restored %d of %d archived receipts from %d segments, and %d files of anchors, into %s", done.Size, done.Archived, done.Segments, done.Proofs, dst)
		s.say(yellow, "%s", archive.NotRestored)
		err = errors.Join(s.flush(), tell(a.out, r))
	}
	if err == nil && r.Status() != 0 {
		return status(r.Status())
	}
	return err
}
