package node

import (
	"context"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
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
func (e evidence) Tile(ctx context.Context, path string) ([]byte, error) {
	const op = "log.tile"
	b, err := e.n.storage.place.Get(ctx, path, tiles.MaxBundle)
	switch {
	case err == nil:
		return b, nil
	case vaultmesh.KindOf(err) == vaultmesh.NotFound:
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, path, "the log has not published it").WithFix("read the checkpoint for the size of the tree")
	case vaultmesh.KindOf(err) == vaultmesh.Invalid:
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not a path of a tile")
	}
	e.n.l.Warn("cannot read the published log", "object", path, "error", err) // the cause names places that are nobody else's business
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "the place of the published log does not answer").WithFix("try again")
}
