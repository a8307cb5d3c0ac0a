package receipt

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/transparency-dev/formats/log"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// head is a checkpoint that a trusted key of the log signed.
type head struct {
	size        uint64
	root        vaultmesh.Digest
	note        []byte
	digest      vaultmesh.Digest // of the note's body: what is anchored
	key         string           // of the log, that signed it
	witnessed   bool             // by a quorum of the pinned policy
	witnessedAt time.Time
}

// checkpoints opens the main checkpoint and the others, and proves that all are of one log that only grew.
func (j *judge) checkpoints() {
	j.heads = map[uint64]*head{}
	parts := j.byType[PartCheckpoint]
	if len(parts) != 1 {
		j.fail("log.checkpoint", "the bundle has no checkpoint")
		return
	}
	main, err := j.openHead(parts[0].Data)
	if err != nil {
		j.fail("log.checkpoint", "%v", err)
		return
	}
	j.main, j.heads[main.size] = main, main
	j.pass("log.checkpoint", "%s signed size %d with root sha256:%x by key %s", j.trust.Log.Origin, main.size, main.root[:], main.key)
	j.otherHeads()
}

func (j *judge) otherHeads() {
	const family = "log.consistency"
	if len(j.byType[PartAnchored]) > maxHeads {
		j.fail(family, "%d checkpoints beside the main one, at most %d", len(j.byType[PartAnchored]), maxHeads)
		return
	}
	proofs := map[uint64][]byte{}
	for _, p := range j.byType[PartConsistency] {
		size, _, _ := anchorSize(p.Name)
		proofs[size] = p.Data
	}
	for _, p := range j.byType[PartAnchored] {
		size, _, _ := anchorSize(p.Name)
		name := family + "[" + p.Name + "]"
		h, err := j.openHead(p.Data)
		if err == nil && h.size != size {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, family, "", "the checkpoint is of size %d", h.size)
		}
		if err == nil {
			err = j.consistent(h.size, h.root, proofs[size])
		}
		delete(proofs, size)
		if j.settle(name, err, "the tree of size %d with root %s and the main checkpoint's are one log that only grew", size, rootOf(h)) {
			j.heads[size] = h
		}
	}
	for _, size := range slices.Sorted(maps.Keys(proofs)) {
		if size != j.demand.Size && !j.demandsHead(size) {
			j.empty(family, "a proof for size %d is of use only to an auditor who knows the log's head at that size", size)
		}
	}
	if !slices.ContainsFunc(j.checks, func(c finding) bool { return familyOf(c.Name) == family }) {
		j.empty(family, "the main checkpoint is the only one")
	}
}

func rootOf(h *head) string {
	if h == nil {
		return "unknown"
	}
	return h.root.String()
}

// openHead verifies a signed note by the keys of the log that count at its size.
func (j *judge) openHead(signed []byte) (*head, error) {
	const op = "log.checkpoint"
	size, err := claimedSize(signed)
	if err != nil {
		return nil, err
	}
	body, err := CheckpointBody(signed)
	if err != nil {
		return nil, err
	}
	var last error
	for _, k := range j.keys.CheckpointKeys(size) {
		if !j.accepts(k) {
			continue
		}
		v, err := k.Verifier()
		if err != nil {
			return nil, err
		}
		opened, err := note.Open(signed, note.VerifierList(v))
		if err != nil {
			last = err
			continue
		}
		var c log.Checkpoint
		if _, err := c.Unmarshal([]byte(opened.Text)); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a checkpoint").Because(err)
		}
		if c.Origin != j.trust.Log.Origin || c.Size != size || c.Size == 0 || len(c.Hash) != rfc6962.DefaultHasher.Size() || opened.Text != string(body) {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, "", "it is of log %.80q, size %d; the trust file pins %.80q", c.Origin, c.Size, j.trust.Log.Origin)
		}
		return &head{size: c.Size, root: vaultmesh.Digest(c.Hash), note: signed, digest: vaultmesh.Sum(body), key: KeyID(k.Public)}, nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.Denied, op, "", "not signed by a trusted key of %s that counts at size %d", j.trust.Log.Origin, size).Because(last).
		WithFix("pin the log's key of that time")
}

// consistent checks that a tree and the main checkpoint's are of one log.
func (j *judge) consistent(size uint64, root vaultmesh.Digest, data []byte) error {
	const op = "log.consistency"
	m := j.main
	if size == m.size {
		if root != m.root {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "fork: the log signed root %s and root %s, both of size %d", root, m.root, size)
		}
		return nil
	}
	if data == nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the bundle has no proof between size %d and the main checkpoint's size %d", size, m.size)
	}
	old, path, err := decodeConsistency(data)
	if err != nil {
		return err
	}
	if old != min(size, m.size) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the proof is from size %d, want %d", old, min(size, m.size))
	}
	if size < m.size {
		err = merkle.VerifyConsistency(rfc6962.DefaultHasher, size, m.size, path, root[:], m.root[:])
	} else {
		err = merkle.VerifyConsistency(rfc6962.DefaultHasher, m.size, size, path, m.root[:], root[:])
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "fork: the trees of size %d and %d are not of one log", size, m.size).Because(err)
	}
	return nil
}

// demandsHead reports whether the auditor's checkpoint is of the size.
func (j *judge) demandsHead(size uint64) bool {
	claimed, err := claimedSize(j.demand.Head)
	return err == nil && claimed == size
}

// expectedHead compares the log with the head that the auditor knows.
func (j *judge) expectedHead() {
	const name = "log.head"
	d := &j.demand
	if d.Size == 0 && len(d.Head) == 0 {
		j.empty(name, "the auditor named no head of the log")
		return
	}
	if j.main == nil {
		j.fail(name, unjudged+": there is no trusted checkpoint")
		return
	}
	if len(d.Head) > 0 {
		h, err := j.openHead(d.Head)
		if err != nil {
			j.fail(name, "the checkpoint that was given cannot be used: %v", err)
			return
		}
		if d.Size != 0 && (d.Size != h.size || d.Root != h.root) {
			j.fail(name, "the checkpoint that was given is of size %d with root %s, expected is size %d with root %s", h.size, h.root, d.Size, d.Root)
			return
		}
		d.Size, d.Root = h.size, h.root
	}
	if d.Root.IsZero() {
		j.fail(name, "a size without a root tells no two logs apart: give both, or a checkpoint")
		return
	}
	if j.main.size < d.Size && !slices.ContainsFunc(j.headList(), func(h *head) bool { return h.size >= d.Size }) {
		j.fail(name, "the log is behind the head you gave, or the bundle is older than it: the bundle leads to size %d of the log, your head is of size %d; ask for the bundle anew with --head %d, and if the log still has no such size then, it was cut short or rolled back",
			j.main.size, d.Size, d.Size)
		return
	}
	var err error
	if h, ok := j.heads[d.Size]; ok {
		if h.root != d.Root {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, "log.head", "", "fork: at size %d the log has root %s here, the auditor knows %s", d.Size, h.root, d.Root)
		}
	} else {
		part, _ := j.bundle.Find(anchorName(d.Size, "consistency"))
		if err = j.consistent(d.Size, d.Root, part.Data); vaultmesh.KindOf(err) == vaultmesh.NotFound {
			j.fail(name, unjudged+": %v; ask the node for a bundle that leads to size %d (vaultmesh bundle get --head %d)", err, d.Size, d.Size)
			return
		}
	}
	if j.settle(name, err, "the log is the one that the auditor knows at size %d, and at least as long", d.Size) {
		j.known = fmt.Sprintf("the head that you named, at size %d", d.Size)
	}
}

// headList returns the consistent checkpoints in the order of their sizes.
func (j *judge) headList() []*head {
	list := make([]*head, 0, len(j.heads))
	for _, h := range j.heads {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *head) int {
		if a.size < b.size {
			return -1
		}
		return 1
	})
	return list
}
