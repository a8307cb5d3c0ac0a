package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// evidence answers what the faces ask of the log.
type evidence struct{ n *Node }

func (e evidence) Size() uint64 {
	if cp := e.n.log.Checkpoint(); cp != nil {
		return cp.Size
	}
	return 0
}

func (e evidence) Receipt(_ context.Context, i vaultmesh.LogIndex) ([]byte, error) {
	return e.n.log.Receipt(i)
}

func (e evidence) Subject(_ context.Context, subject string, from vaultmesh.LogIndex, limit int) ([]vaultmesh.LogIndex, error) {
	return e.n.log.SubjectSince(subject, from, limit)
}

func (e evidence) Checkpoint(context.Context) ([]byte, error) {
	cp := e.n.log.Checkpoint()
	if cp == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "checkpoint", "", "the log is empty")
	}
	return cp.Note, nil
}

func digests(hashes [][]byte, err error) ([]vaultmesh.Digest, error) {
	if err != nil {
		return nil, err
	}
	out := make([]vaultmesh.Digest, len(hashes))
	for i, h := range hashes {
		out[i] = vaultmesh.Digest(h)
	}
	return out, nil
}

func (e evidence) Inclusion(_ context.Context, i vaultmesh.LogIndex, size uint64) ([]vaultmesh.Digest, error) {
	return digests(e.n.log.Inclusion(i, size))
}

func (e evidence) Consistency(_ context.Context, old, size uint64) ([]vaultmesh.Digest, error) {
	return digests(e.n.log.Consistency(old, size))
}

// Tile reads a published file; its path is well-formed when it comes here.
func (e evidence) Tile(_ context.Context, path string) ([]byte, error) {
	if !filepath.IsLocal(path) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "log.tile", path, "not a path of a tile")
	}
	b, err := os.ReadFile(filepath.Join(e.n.cfg.Log.Tiles, filepath.FromSlash(path)))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "log.tile", path, "the log has not published it").WithFix("read the checkpoint for the size of the tree")
	}
	return b, nil
}

// maxBundle bounds the commands of one bundle.
const maxBundle = 1000

// Bundle collects everything that proves the commands: their receipts with inclusion proofs to one checkpoint, its
// timestamp where there is an authority, the challenges that people signed, and the telemetry that was observed.
func (e evidence) Bundle(ctx context.Context, ids []vaultmesh.CommandID) ([]byte, error) {
	const op = "bundle"
	if len(ids) == 0 || len(ids) > maxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%d commands, want 1 to %d", len(ids), maxBundle)
	}
	b := &collection{n: e.n, receipts: map[vaultmesh.LogIndex][]byte{}}
	for _, id := range ids {
		if err := b.command(id); err != nil {
			return nil, err
		}
	}
	if err := b.subject(receipt.DomainSubject(e.n.cfg.Domain)); err != nil {
		return nil, err
	}
	head, err := e.n.anchors.covering(ctx, b.last)
	if err != nil {
		return nil, err
	}
	return b.seal(head)
}

// collection gathers the parts of one bundle.
type collection struct {
	n        *Node
	receipts map[vaultmesh.LogIndex][]byte
	parts    []receipt.Part
	last     vaultmesh.LogIndex
}

func (b *collection) receipt(i vaultmesh.LogIndex) (receipt.Receipt, error) {
	raw, have := b.receipts[i]
	if !have {
		var err error
		if raw, err = b.n.log.Receipt(i); err != nil {
			return receipt.Receipt{}, err
		}
		b.receipts[i] = raw
		b.last = max(b.last, i)
	}
	return receipt.Open(raw)
}

func (b *collection) subject(subject string) error {
	indexes, err := b.n.log.Subject(subject, 0, 1<<16)
	if err != nil {
		return err
	}
	if len(indexes) == 0 {
		return vaultmesh.Errorf(vaultmesh.NotFound, "bundle", subject, "the log has no receipt of it")
	}
	for _, i := range indexes {
		r, err := b.receipt(i)
		if err != nil {
			return err
		}
		switch r.Kind {
		case receipt.CommandAligned, receipt.CommandDiverged:
			if err := b.observed(r); err != nil {
				return err
			}
		case receipt.CommandHalted:
			for _, c := range r.Causes {
				if err := b.cause(c.Index); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cause adds the whole history of the subject of a receipt that caused another.
func (b *collection) cause(i vaultmesh.LogIndex) error {
	if _, have := b.receipts[i]; have {
		return nil
	}
	r, err := b.receipt(i)
	if err != nil {
		return err
	}
	return b.subject(r.Subject)
}

func (b *collection) command(id vaultmesh.CommandID) error {
	if err := b.subject(receipt.CommandSubject(id)); err != nil {
		return err
	}
	challenge, err := b.n.control.Signed(id)
	if err != nil {
		return err
	}
	if challenge != nil {
		b.parts = append(b.parts, receipt.ChallengePart(*challenge))
	}
	return nil
}

// observed adds the messages that an aligned or diverged receipt rests on, with their proofs.
func (b *collection) observed(r receipt.Receipt) error {
	var body receipt.ObservedBody
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", r.Subject, "the observation cannot be read").Because(err)
	}
	t, ok := b.n.twins.Get(body.Twin)
	if !ok {
		return nil
	}
	for _, o := range body.Observed {
		if o.Batch == nil {
			continue
		}
		raw, ok, err := b.n.control.Message(*o.Batch, o.Position)
		if err != nil {
			return err
		}
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", r.Subject, "message %d of the batch at %d, on which it rests, is missing", o.Position, *o.Batch)
		}
		p, err := b.message(t.Device, body.Twin, *o.Batch, o.Position, raw)
		if err != nil {
			return err
		}
		part := receipt.MessagePart(p)
		if !slices.ContainsFunc(b.parts, func(x receipt.Part) bool { return x.Name == part.Name }) {
			b.parts = append(b.parts, part)
		}
	}
	return nil
}

// message proves one telemetry message by its batch.
func (b *collection) message(d vaultmesh.DeviceID, t vaultmesh.TwinID, batch vaultmesh.LogIndex, pos int, raw []byte) (receipt.MessageProof, error) {
	if _, err := b.receipt(batch); err != nil {
		return receipt.MessageProof{}, err
	}
	v, ok, err := b.n.journal.Get(device.LeavesKey(batch))
	if err != nil {
		return receipt.MessageProof{}, err
	}
	if !ok || len(v)%32 != 0 {
		return receipt.MessageProof{}, vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", string(t), "the leaves of batch %d are missing or damaged", batch)
	}
	leaves := make([]vaultmesh.Digest, len(v)/32)
	for i := range leaves {
		leaves[i] = vaultmesh.Digest(v[32*i : 32*i+32])
	}
	path, err := receipt.ProveMessage(leaves, pos)
	if err != nil {
		return receipt.MessageProof{}, err
	}
	return receipt.MessageProof{Batch: batch, Index: uint64(pos), Path: path, Topic: device.TelemetryTopic(d, t), Payload: raw}, nil
}

// seal proves every receipt by one checkpoint and signs the whole.
func (b *collection) seal(head lawchain.Anchored) ([]byte, error) {
	for i, raw := range b.receipts {
		path, err := digests(b.n.log.Inclusion(i, head.Size))
		if err != nil {
			return nil, err
		}
		b.parts = append(b.parts, receipt.ReceiptPart(i, raw), receipt.InclusionPart(i, path, head.Note))
	}
	b.parts = append(b.parts, receipt.CheckpointPart(head.Note))
	if len(head.Timestamp) > 0 {
		b.parts = append(b.parts, receipt.TimestampPart(0, head.Timestamp))
	}
	return receipt.EncodeBundle(b.n.cfg.Domain, b.parts, signer(b.n.keys.receipts))
}
