package sample

import (
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// Head is a size of the log with what dates it.
type Head struct {
	Size    uint64
	Note    []byte
	Stamp   []byte
	Bitcoin []byte
	Chain   []byte // Ethereum
}

// Anchor signs a checkpoint over all receipts so far and has it dated, all so long after the start.
func (w *World) Anchor(after time.Duration) Head {
	w.T.Helper()
	h := Head{Size: w.Size(), Note: w.Checkpoint(w.Size(), after)}
	d := w.Digest(h.Note)
	h.Stamp, h.Bitcoin, h.Chain = w.Stamp(d, after), w.Bitcoin(d, after), w.Ethereum(d, after)
	return h
}

// Report appends the anchor.verified receipt about a head's time-stamp.
func (w *World) Report(h Head, at, after time.Duration) receipt.Ref {
	w.T.Helper()
	return w.Add(receipt.AnchorVerified, receipt.AnchorSubject("rfc3161/sample"), "node:sample", after, &receipt.AnchorBody{AnchorRef: receipt.AnchorRef{Target: "rfc3161/sample", Kind: receipt.AnchorRFC3161, Job: "job-1", Checkpoint: w.Digest(h.Note), Size: h.Size},
		Final: true, Time: Start.Add(at), Proof: vaultmesh.Sum(h.Stamp)}, nil)
}

// Receipts returns the parts of receipts with their inclusion proofs to a checkpoint.
func (w *World) Receipts(size uint64, note []byte, indexes ...vaultmesh.LogIndex) (parts []receipt.Part) {
	w.T.Helper()
	for _, i := range indexes {
		path, err := receipt.ProveMessage(w.Leaves[:size], int(i))
		if err != nil {
			w.T.Fatal(err)
		}
		parts = append(parts, receipt.ReceiptPart(i, w.Envelopes[i]), receipt.InclusionPart(i, path, note))
	}
	return parts
}

// Of returns the indexes of the receipts of the subjects.
func (w *World) Of(subjects ...string) (list []vaultmesh.LogIndex) {
	w.T.Helper()
	for i, env := range w.Envelopes {
		r, err := receipt.Open(env)
		if err != nil {
			w.T.Fatal(err)
		}
		for _, s := range subjects {
			if r.Subject == s {
				list = append(list, vaultmesh.LogIndex(i))
			}
		}
	}
	return list
}

// Message returns the part with the message that the aligned command rests on.
func (w *World) Message() receipt.Part {
	w.T.Helper()
	path, err := receipt.ProveMessage(w.messageLeaves(), 1)
	if err != nil {
		w.T.Fatal(err)
	}
	m := w.messages[1]
	return receipt.MessagePart(receipt.MessageProof{Batch: w.At[receipt.TelemetryBatch].Index, Index: 1, Path: path, Topic: m.topic, Payload: []byte(m.payload)})
}

// Challenge returns the part with what the approvers signed.
func (w *World) Challenge() receipt.Part { return receipt.ChallengePart(w.challenge) }

// Consistency returns the part with the proof between two sizes.
func (w *World) Consistency(size, main uint64) receipt.Part {
	w.T.Helper()
	return receipt.ConsistencyPart(size, main, w.consistency(min(size, main), max(size, main)))
}

// consistency computes an RFC 6962 proof by hashing each node that it names: small trees only.
func (w *World) consistency(old, size uint64) (path []vaultmesh.Digest) {
	nodes, err := proof.Consistency(old, size)
	if err != nil {
		w.T.Fatal(err)
	}
	var hashes [][]byte
	for _, id := range nodes.IDs {
		first := id.Index << id.Level
		root := w.rangeRoot(first, min(first+1<<id.Level, size))
		hashes = append(hashes, root[:])
	}
	if hashes, err = nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren); err != nil {
		w.T.Fatal(err)
	}
	for _, h := range hashes {
		path = append(path, vaultmesh.Digest(h))
	}
	return path
}

func (w *World) rangeRoot(from, to uint64) vaultmesh.Digest {
	root, err := receipt.BatchRoot(w.Leaves[from:to])
	if err != nil {
		w.T.Fatal(err)
	}
	return root
}

// Pack signs a bundle of the parts.
func (w *World) Pack(parts []receipt.Part) []byte {
	w.T.Helper()
	b, err := receipt.EncodeBundle(Domain, parts, w.Key)
	if err != nil {
		w.T.Fatal(err)
	}
	return b
}

// All returns the parts of a bundle of every receipt so far and of a checkpoint that nothing dates but its witnesses, with
// what it takes to trust that much.
func (w *World) All() ([]receipt.Part, *receipt.Trust) {
	w.T.Helper()
	note := w.Checkpoint(w.Size(), time.Minute)
	indexes := make([]vaultmesh.LogIndex, w.Size())
	for i := range indexes {
		indexes[i] = vaultmesh.LogIndex(i)
	}
	return append(w.Receipts(w.Size(), note, indexes...), receipt.CheckpointPart(note)), &receipt.Trust{Domain: Domain,
		Log: receipt.TrustedLog{Origin: Origin, Key: w.LogVerifier()}, ReceiptKeys: []receipt.TrustedKey{{ID: w.Key.KeyID(), Public: w.Key.Pub()}}}
}

// Everything tells the story and returns the parts of a bundle about both commands, the halts and the capability, with
// all kinds of proofs: a first head that is dated in every way, and the main one, which is cosigned and stamped.
func (w *World) Everything() []receipt.Part {
	w.T.Helper()
	w.Tell()
	first := w.Anchor(20 * time.Second)
	w.Report(first, 20*time.Second, 21*time.Second)
	root := w.Root(22 * time.Second)
	note := w.Checkpoint(w.Size(), 24*time.Second)
	main := w.Size()
	parts := w.Receipts(main, note, w.Of(receipt.CommandSubject(Command), receipt.CommandSubject(Denied), receipt.DomainSubject(Domain), receipt.KeySubject(Domain), receipt.HaltSubject(Domain), receipt.CapabilitySubject(w.Block), receipt.TelemetrySubject(Domain),
		receipt.AnchorSubject("rfc3161/sample"), receipt.StateSubject(Domain))...)
	parts = append(parts, receipt.CheckpointPart(note), receipt.TimestampPart(main, 0, w.Stamp(w.Digest(note), 25*time.Second)),
		receipt.AnchoredPart(first.Size, first.Note), w.Consistency(first.Size, main), receipt.TimestampPart(first.Size, 0, first.Stamp), receipt.BitcoinPart(first.Size, first.Bitcoin), receipt.EthereumPart(first.Size, first.Chain),
		w.Message(), w.Challenge(), receipt.ScopePart(receipt.Scope{Commands: []vaultmesh.CommandID{Command, Denied}, Subjects: []string{receipt.HaltSubject(Domain), receipt.CapabilitySubject(w.Block)}}))
	for i, subject := range []string{receipt.HaltSubject(Domain), receipt.CapabilitySubject(w.Block)} {
		parts = append(parts, receipt.StatePart(i, w.StateProof(root, state.SubjectKey(subject))))
	}
	return append(parts, receipt.StatePart(2, w.StateProof(root, state.TwinKey("transformer-4-9"))), receipt.StatePart(3, w.StateProof(root, state.TwinKey("no-such-twin"))))
}
