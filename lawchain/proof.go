package lawchain

import (
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

func (l *Log) reader() journal.Reader { return *l.r.Load() }

// Receipt returns the exact envelope bytes of a durable receipt.
func (l *Log) Receipt(i vaultmesh.LogIndex) ([]byte, error) {
	const op = "receipt"
	cp := l.Checkpoint()
	if cp == nil || uint64(i) >= cp.Size {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the log has no receipt %d", i).WithFix("indexes run from 0 to one below the size of the checkpoint")
	}
	b, ok, err := l.reader().Get(keyEntry(uint64(i)))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "receipt %d is missing from the journal", i)
	}
	return b, nil
}

// Inclusion returns the RFC 6962 audit path of receipt i in the tree of the given size.
func (l *Log) Inclusion(i vaultmesh.LogIndex, size uint64) ([][]byte, error) {
	if err := l.check("proof.inclusion", size); err != nil {
		return nil, err
	}
	n, err := proof.Inclusion(uint64(i), size)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "proof.inclusion", "", "receipt %d is not in a tree of %d", i, size).Because(err)
	}
	return l.hashes(n)
}

// Consistency returns the RFC 6962 proof that the tree of size old is a prefix of the tree of the given size.
func (l *Log) Consistency(old, size uint64) ([][]byte, error) {
	if err := l.check("proof.consistency", size); err != nil {
		return nil, err
	}
	n, err := proof.Consistency(old, size)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "proof.consistency", "", "sizes %d and %d", old, size).Because(err)
	}
	return l.hashes(n)
}

func (l *Log) check(op string, size uint64) error {
	if cp := l.Checkpoint(); cp == nil || size > cp.Size {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the log has not reached size %d", size)
	}
	return nil
}

// RootAt returns the root of the tree of the given size.
func (l *Log) RootAt(size uint64) (vaultmesh.Digest, error) {
	if err := l.check("lawchain.root", size); err != nil {
		return vaultmesh.Digest{}, err
	}
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, size, nil) {
		h, err := l.node(id)
		if err != nil {
			return vaultmesh.Digest{}, err
		}
		hashes = append(hashes, h)
	}
	t, err := factory.NewRange(0, size, hashes)
	if err != nil {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.root", "", "the tree of size %d cannot be rebuilt", size).Because(err)
	}
	return rootOf(t)
}

func (l *Log) hashes(n proof.Nodes) ([][]byte, error) {
	out := make([][]byte, 0, len(n.IDs))
	for _, id := range n.IDs {
		h, err := l.node(id)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	out, err := n.Rehash(out, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "proof", "", "rehash").Because(err)
	}
	return out, nil
}
