package bitcoin

import "vaultmesh.org/vaultmesh"

// MaxBranch bounds a Merkle branch: a block of 4 million weight units holds fewer than 2^15 transactions.
const MaxBranch = 20

// Fold returns the Merkle root that a transaction at index leads to over the branch (lowest sibling first). It refuses
// shapes that no block has, and those in which one root has two readings:
//   - an index beyond the tree;
//   - a node that is its own sibling on the left, and one that is it on the right although it is not the last of its
//     level (CVE-2012-2459: a list of transactions with its end repeated has the same root);
//   - an inner node that can be read as a transaction of 64 bytes, half of which an attacker may have chosen so that it
//     is the hash of a transaction that is in no block.
func Fold(txid Hash, index uint32, branch []Hash) (Hash, error) {
	const op = "bitcoin.branch"
	if len(branch) > MaxBranch || uint64(index)>>len(branch) != 0 {
		return Hash{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "index %d is outside of a tree of %d levels (at most %d)", index, len(branch), MaxBranch)
	}
	var pair [64]byte
	node, last := txid, false // last: the node is the last of its level
	for _, sibling := range branch {
		right := index&1 == 1
		index >>= 1
		switch {
		case sibling == node && right:
			return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, node.String(), "a repeated node stands on the left of itself: no block has this form (CVE-2012-2459)")
		case sibling != node && last && !right:
			return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, node.String(), "the last node of a level has a right neighbour: no block has this form (CVE-2012-2459)")
		case sibling == node:
			last = true
		}
		if right {
			copy(pair[:32], sibling[:])
			copy(pair[32:], node[:])
		} else {
			copy(pair[:32], node[:])
			copy(pair[32:], sibling[:])
		}
		if _, err := parseTx(pair[:]); err == nil {
			return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, node.String(), "an inner node of the tree is itself a transaction of 64 bytes: the branch may be forged")
		}
		node = Sum2(pair[:])
	}
	return node, nil
}

// Branch returns the branch of transaction index over the identifiers of all transactions of a block, and the root.
func Branch(txids []Hash, index uint32) (branch []Hash, root Hash, err error) {
	if uint64(index) >= uint64(len(txids)) {
		return nil, Hash{}, vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.branch", "", "no transaction %d among %d", index, len(txids))
	}
	level := append([]Hash(nil), txids...)
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level, level[len(level)-1])
		}
		branch = append(branch, level[index^1])
		index >>= 1
		for i := 0; i < len(level); i += 2 {
			var pair [64]byte
			copy(pair[:32], level[i][:])
			copy(pair[32:], level[i+1][:])
			level[i/2] = Sum2(pair[:])
		}
		level = level[:len(level)/2]
	}
	return branch, level[0], nil
}
