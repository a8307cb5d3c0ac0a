package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
)

// MaxBatch bounds the messages under one telemetry.batch receipt.
const MaxBatch = 1 << 20

// maxPath is the length of the longest audit path of a tree with 2^64 leaves.
const maxPath = 64

// MessageLeaf is the leaf of one telemetry message in its batch: SHA-256 of 0x00, the topic, 0x00 and the payload. A
// topic never holds a NUL (MQTT 5 section 1.5.4), so no two messages share a leaf.
func MessageLeaf(topic string, payload []byte) vaultmesh.Digest {
	b := make([]byte, 0, 2+len(topic)+len(payload))
	b = append(b, 0)
	b = append(b, topic...)
	b = append(b, 0)
	return sha256.Sum256(append(b, payload...))
}

var ranges = &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// BatchRoot returns the RFC 6962 root over the leaves; over none it is the hash of the empty string.
func BatchRoot(leaves []vaultmesh.Digest) (vaultmesh.Digest, error) {
	root, err := batchTree(leaves, nil)
	if err != nil {
		return vaultmesh.Digest{}, err
	}
	return vaultmesh.Digest(root), nil
}

// ProveMessage returns the audit path of leaf index in the batch over leaves (RFC 6962 section 2.1.1).
func ProveMessage(leaves []vaultmesh.Digest, index int) ([]vaultmesh.Digest, error) {
	if index < 0 || index >= len(leaves) {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "telemetry.prove", "", "no message %d in a batch of %d", index, len(leaves))
	}
	nodes, err := proof.Inclusion(uint64(index), uint64(len(leaves)))
	if err != nil {
		return nil, vaultmesh.Wrap(err, "telemetry.prove", "")
	}
	need := make(map[compact.NodeID][]byte, len(nodes.IDs))
	for _, id := range nodes.IDs {
		need[id] = nil
	}
	visit := func(id compact.NodeID, hash []byte) {
		if _, ok := need[id]; ok {
			need[id] = hash
		}
	}
	if _, err := batchTree(leaves, visit); err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		hashes[i] = need[id]
	}
	if hashes, err = nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren); err != nil {
		return nil, vaultmesh.Wrap(err, "telemetry.prove", "")
	}
	path := make([]vaultmesh.Digest, len(hashes))
	for i, h := range hashes {
		path[i] = vaultmesh.Digest(h)
	}
	return path, nil
}

// batchTree builds the tree and shows each node of it to visit, leaves included.
func batchTree(leaves []vaultmesh.Digest, visit compact.VisitFn) ([]byte, error) {
	if len(leaves) > MaxBatch {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "telemetry.batch", "", "%d messages, the limit is %d", len(leaves), MaxBatch)
	}
	if len(leaves) == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	r := ranges.NewEmptyRange(0)
	for i := range leaves {
		if err := r.Append(leaves[i][:], visit); err != nil {
			return nil, vaultmesh.Wrap(err, "telemetry.batch", "")
		}
	}
	root, err := r.GetRootHash(visit)
	return root, vaultmesh.Wrap(err, "telemetry.batch", "")
}

// MessageProof shows that one telemetry message is in a batch. Its text form is RFC 8785 JSON with the members batch,
// index (decimal strings), path (digests), payload (base64) and topic.
type MessageProof struct {
	Batch   vaultmesh.LogIndex // log index of the telemetry.batch receipt
	Index   uint64             // position of the message in the batch
	Path    []vaultmesh.Digest // audit path, from the leaf upward
	Topic   string
	Payload []byte // the exact bytes as received, at most 64 KiB
}

// Verify checks the proof against the body of its batch's receipt.
func (p *MessageProof) Verify(b BatchBody) error {
	if strings.IndexByte(p.Topic, 0) >= 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "telemetry.proof", "", "the topic holds a NUL")
	}
	path := make([][]byte, len(p.Path))
	for i := range p.Path {
		path[i] = p.Path[i][:]
	}
	leaf := MessageLeaf(p.Topic, p.Payload)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, b.Count, leaf[:], path, b.Root[:]); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "telemetry.proof", "", "the message is not at position %d of the batch of %d messages with root %s", p.Index, b.Count, b.Root).Because(err)
	}
	return nil
}

// Encode returns the text form of the proof.
func (p *MessageProof) Encode() []byte {
	b := append([]byte(nil), `{"batch":"`...)
	b = strconv.AppendUint(b, uint64(p.Batch), 10)
	b = append(b, `","index":"`...)
	b = strconv.AppendUint(b, p.Index, 10)
	b = append(b, `","path":[`...)
	for i, d := range p.Path {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendDigest(b, d)
	}
	b = append(b, `],"payload":"`...)
	b = base64.StdEncoding.AppendEncode(b, p.Payload)
	b = append(b, `","topic":`...)
	b = appendString(b, p.Topic)
	return append(b, '}')
}

// OpenMessageProof reads the text form of a proof and accepts no other form of it.
func OpenMessageProof(doc []byte) (MessageProof, error) {
	if len(doc) > 4*MaxEntry {
		return MessageProof{}, vaultmesh.Errorf(vaultmesh.TooLarge, "telemetry.proof", "", "%d bytes, the limit is %d", len(doc), 4*MaxEntry)
	}
	var p MessageProof
	r := reader{data: doc}
	r.literal(`{"batch":"`)
	p.Batch = vaultmesh.LogIndex(r.uint(r.until('"')))
	r.literal(`,"index":"`)
	p.Index = r.uint(r.until('"'))
	r.literal(`,"path":[`)
	for r.peek('"') {
		p.Path = append(p.Path, r.digest())
		if !r.peek(',') || len(p.Path) == maxPath {
			break
		}
		r.literal(`,`)
	}
	r.literal(`],"payload":"`)
	p.Payload = r.base64(r.until('"'))
	r.literal(`,"topic":`)
	p.Topic = r.text()
	r.literal(`}`)
	r.end()
	if r.err != nil {
		return MessageProof{}, vaultmesh.Wrap(r.err, "telemetry.proof", "")
	}
	if !bytes.Equal(p.Encode(), doc) {
		return MessageProof{}, vaultmesh.Errorf(vaultmesh.Invalid, "telemetry.proof", "", "it is not in the one form in which it may be written")
	}
	return p, nil
}
