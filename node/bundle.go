package node

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of one bundle.
const (
	maxBundle         = 100                  // commands, other subjects and keys of the state
	maxBundleSubjects = 16                   // subjects, each of which may have a long history
	maxBundleRange    = 20_000               // receipts of a range: each is two parts, and what supports them are others
	maxBundleReceipts = receipt.MaxParts / 2 // in all
)

// Bundle collects everything that proves what is asked for: receipts with inclusion proofs to one checkpoint, that
// checkpoint with its cosignatures, those that were anchored with their proofs, the challenges that people signed, the
// telemetry that was observed, and proofs of state.
func (e evidence) Bundle(ctx context.Context, q httpapi.BundleQuery) ([]byte, error) {
	const op = "bundle"
	if n := len(q.Commands) + len(q.Subjects) + len(q.State); n > maxBundle {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d commands, subjects and keys of the state, at most %d", n, maxBundle).WithFix("ask for several bundles")
	}
	if n := len(q.Subjects); n > maxBundleSubjects {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d subjects, at most %d", n, maxBundleSubjects).WithFix("ask for several bundles")
	}
	leave, err := e.n.builds.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	b := &collection{n: e.n, ctx: ctx, receipts: map[vaultmesh.LogIndex][]byte{}, subjects: map[string]bool{}, proved: map[string]bool{}, names: map[string]bool{},
		scope: receipt.Scope{Commands: q.Commands}, mayRead: q.Readable}
	if q.StateAt == 0 {
		if err := b.rooted(); err != nil {
			return nil, err
		}
	}
	cp := e.n.log.Checkpoint()
	if cp == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the log is empty")
	}
	if q.Head > cp.Size {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, "head", "the log has size %d, you know it at size %d", cp.Size, q.Head).WithFix("if you are sure, the log was cut short: keep what you have, and ask its operator")
	}
	if q.Disclose {
		b.readable = q.Readable
	}
	for _, id := range q.Commands {
		if err := b.command(id); err != nil {
			return nil, err
		}
	}
	for _, r := range q.Ranges {
		if err := b.inRange(r, cp.Size); err != nil {
			return nil, err
		}
	}
	for _, s := range q.Subjects {
		if err := b.wholeSubject(s); err != nil {
			return nil, err
		}
	}
	if err := b.stateAt(q.State, q.StateAt); err != nil {
		return nil, err
	}
	for _, s := range []string{receipt.DomainSubject(e.n.cfg.Domain), receipt.KeySubject(e.n.cfg.Domain)} {
		if err := b.subject(s); err != nil {
			return nil, err
		}
	}
	if err := b.keysHistory(); err != nil {
		return nil, err
	}
	return b.seal(q.Head)
}

// keysHistory proves where keys changed that the bundle holds all that the log says about them: an auditor who pins several
// keys needs to know that none of them was retired.
func (b *collection) keysHistory() error {
	subject := receipt.KeySubject(b.n.cfg.Domain)
	indexes, err := b.n.log.Subject(subject, 0, 1)
	if err != nil || len(indexes) == 0 {
		return err
	}
	_, err = b.state(state.SubjectKey(subject))
	return err
}

// collection gathers the parts of one bundle.
type collection struct {
	n        *Node
	ctx      context.Context
	scope    receipt.Scope
	receipts map[vaultmesh.LogIndex][]byte
	subjects map[string]bool // whose whole history is in
	proved   map[string]bool // keys of which the state is in
	root     uint64          // one above the index of the state.root receipt that all state proofs are about; 0: none yet
	rootSize uint64          // of the log of which that receipt has the state; 0 where it was not made for this bundle
	parts    []receipt.Part
	names    map[string]bool // of parts
	last     vaultmesh.LogIndex
	around   []anchor.Anchored         // what dates the ends of ranges by time
	bytes    int                       // of the receipts
	readable func(subject string) bool // whether to add the private texts behind the receipts of a subject; nil: never
	mayRead  func(subject string) bool // whether the caller may read the receipts of a subject; nil: of none
}

func (b *collection) receipt(i vaultmesh.LogIndex) (receipt.Receipt, error) {
	raw, have := b.receipts[i]
	if !have {
		if err := b.ctx.Err(); err != nil {
			return receipt.Receipt{}, err
		}
		if len(b.receipts) == maxBundleReceipts {
			return receipt.Receipt{}, tooLong("", maxBundleReceipts+1)
		}
		var err error
		if raw, err = b.n.log.Receipt(i); err != nil {
			return receipt.Receipt{}, err
		}
		if b.bytes += len(raw); b.bytes > receipt.MaxBundle {
			return receipt.Receipt{}, tooHeavy()
		}
		b.receipts[i] = raw
		b.last = max(b.last, i)
	}
	return receipt.Open(raw)
}

// tooLong says that at least n receipts do not fit.
func tooLong(subject string, n int) error {
	return vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", subject, "%d receipts or more, at most %d in one bundle", n, maxBundleReceipts).
		WithFix("ask for ranges of the log, by index or by time: they may cut a history, each has at most %d receipts", maxBundleRange)
}

func tooHeavy() error {
	return vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", "", "the receipts and their proofs are more than the %d bytes of a bundle", receipt.MaxBundle).WithFix("ask for fewer commands, or shorter ranges, at a time")
}

// subject adds the whole history of a subject, which may be none, and what it rests on. It counts before it reads.
func (b *collection) subject(subject string) error {
	if b.subjects[subject] {
		return nil
	}
	b.subjects[subject] = true
	room := maxBundleReceipts - len(b.receipts)
	indexes, err := b.n.log.Subject(subject, 0, room+1)
	if err != nil {
		return err
	}
	if len(indexes) > room {
		return tooLong(subject, len(b.receipts)+len(indexes))
	}
	for _, i := range indexes {
		r, err := b.receipt(i)
		if err != nil {
			return err
		}
		if err := b.support(r); err != nil {
			return err
		}
	}
	return nil
}

// support adds what a receipt rests on.
func (b *collection) support(r receipt.Receipt) error {
	switch r.Kind {
	case receipt.CommandAligned, receipt.CommandDiverged:
		return b.observed(r)
	case receipt.CommandHalted:
		for _, c := range r.Causes {
			if err := b.cause(c.Index); err != nil {
				return err
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

// wholeSubject adds a subject that was asked for, with the proof that it has no more receipts.
func (b *collection) wholeSubject(subject string) error {
	if err := b.subject(subject); err != nil {
		return err
	}
	proved := false
	if state.InStateTree(subject) {
		var err error
		if proved, err = b.state(state.SubjectKey(subject)); err != nil {
			return err
		}
	}
	if indexes, err := b.n.log.Subject(subject, 0, 1); err != nil || len(indexes) == 0 && !proved {
		return errors.Join(err, vaultmesh.Errorf(vaultmesh.NotFound, "bundle", subject, "the log has no receipt of it").WithFix("list what there is with `vaultmesh receipts`"))
	}
	b.scope.Subjects = append(b.scope.Subjects, subject)
	return nil
}

// command adds a command's whole life, what its approvers signed, and what is known about the revocation of its
// capability.
func (b *collection) command(id vaultmesh.CommandID) error {
	subject := receipt.CommandSubject(id)
	if err := b.subject(subject); err != nil {
		return err
	}
	indexes, err := b.n.log.Subject(subject, 0, 1)
	if err != nil {
		return err
	}
	if len(indexes) == 0 {
		return vaultmesh.Errorf(vaultmesh.NotFound, "bundle", subject, "the log has no receipt of it")
	}
	if err := b.challenge(id); err != nil {
		return err
	}
	first, err := b.receipt(indexes[0])
	if err != nil {
		return err
	}
	if err := b.stopSwitch(); err != nil {
		return err
	}
	return b.revocations(first)
}

// stopSwitch adds all that happened to the domain's stop switch, and where it can be proved that there is no more, that:
// whether the domain was halted when a command went out.
func (b *collection) stopSwitch() error {
	subject := receipt.HaltSubject(b.n.cfg.Domain)
	if _, err := b.state(state.SubjectKey(subject)); err != nil {
		return err
	}
	return b.subject(subject)
}

func (b *collection) challenge(id vaultmesh.CommandID) error {
	challenge, err := b.n.control.Signed(id)
	if err != nil || challenge == nil {
		return err
	}
	b.add(receipt.ChallengePart(*challenge))
	return nil
}

// add adds a part unless there is one of its name.
func (b *collection) add(part receipt.Part) {
	if !b.names[part.Name] {
		b.names[part.Name] = true
		b.parts = append(b.parts, part)
	}
}

// revocations adds of each block of the capability behind a proposal whether it was revoked.
func (b *collection) revocations(proposed receipt.Receipt) error {
	body, err := receipt.ReadBody[receipt.ProposedBody](&proposed)
	if err != nil || body.Token == "" {
		return err
	}
	token, err := capability.Parse(body.Token)
	if err != nil {
		return err
	}
	for _, block := range token.Blocks() {
		subject := receipt.CapabilitySubject(block.Digest)
		proved, err := b.state(state.SubjectKey(subject))
		if err != nil {
			return err
		}
		if proved {
			if err := b.subject(subject); err != nil {
				return err
			}
		}
	}
	return nil
}

// state adds what the newest state tree holds under a key; all state proofs of a bundle are about one root. ok is false
// where the node keeps no state tree, or has no root yet.
func (b *collection) state(key string) (ok bool, err error) {
	if b.n.state == nil {
		return false, nil
	}
	if b.proved[key] {
		return true, nil
	}
	p, root, err := b.n.state.Prove(key, b.root)
	if vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := b.receipt(root.Receipt); err != nil {
		return false, err
	}
	b.root = uint64(root.Receipt) + 1
	b.add(receipt.StatePart(len(b.proved), p.Encode()))
	b.proved[key] = true
	return true, nil
}

// inRange adds every receipt of a range, and what makes the commands that lie in it wholly judgeable.
func (b *collection) inRange(r receipt.Range, size uint64) error {
	const op = "bundle"
	if !r.From.IsZero() {
		var err error
		if r, err = b.ofTime(r, size); err != nil {
			return err
		}
	}
	if uint64(r.Last) >= size {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the log has receipts 0 to %d", size-1)
	}
	if n := uint64(r.Last-r.First) + 1; n > maxBundleRange {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d receipts, at most %d in one bundle", n, maxBundleRange).WithFix("ask for shorter ranges")
	}
	b.scope.Ranges = append(b.scope.Ranges, r)
	began := map[string]receipt.Receipt{}
	for i := r.First; i <= r.Last; i++ {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		x, err := b.receipt(i)
		if err != nil {
			return err
		}
		state, isCommand := receipt.CommandState(x.Kind)
		if !isCommand {
			continue
		}
		if x.Seq == 0 {
			began[x.Subject] = x
		}
		if first, whole := began[x.Subject]; whole && terminal(state) {
			if err := b.life(first, x); err != nil {
				return err
			}
		}
	}
	return nil
}

func terminal(state string) bool {
	next, ok := receipt.NextCommandStates(state)
	return ok && len(next) == 0
}

// life adds what a command rests on whose whole life is in the bundle.
func (b *collection) life(first, last receipt.Receipt) error {
	if err := b.support(last); err != nil {
		return err
	}
	if err := b.challenge(vaultmesh.CommandID(strings.TrimPrefix(first.Subject, receipt.CommandSubject("")))); err != nil {
		return err
	}
	if err := b.stopSwitch(); err != nil {
		return err
	}
	return b.revocations(first)
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
		b.add(receipt.MessagePart(p))
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

// seal chooses the checkpoint, proves every receipt by it, adds the anchors, and signs the whole. The order is what makes a
// bundle complete for a stranger who pins the log's key and witnesses alone: the root of the state was appended first, the
// checkpoint over it is cosigned, what the log got between the two is added, and all of that is dated.
func (b *collection) seal(head uint64) ([]byte, error) {
	witnessed, err := b.witnessed(head)
	if err != nil {
		return nil, err
	}
	anchored, err := b.anchored()
	if err != nil {
		return nil, err
	}
	if err := b.vouched(); err != nil {
		return nil, err
	}
	cp := witnessed
	if cp == nil {
		cp = b.n.log.Checkpoint() // after the anchors, which may have made the log grow
	}
	size, note := cp.Size, cp.Note
	held := 0
	for _, i := range slices.Sorted(maps.Keys(b.receipts)) { // so that a tile of the tree is read once
		raw := b.receipts[i]
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		path, err := digests(b.n.log.Inclusion(i, size))
		if err != nil {
			return nil, err
		}
		proved := receipt.InclusionPart(i, path, note)
		if held += len(raw) + len(proved.Data); held > receipt.MaxBundle {
			return nil, tooHeavy()
		}
		b.parts = append(b.parts, receipt.ReceiptPart(i, raw), proved)
	}
	if err := b.inputs(); err != nil {
		return nil, err
	}
	b.parts = append(b.parts, receipt.CheckpointPart(note), receipt.ScopePart(b.scope))
	stamps := map[uint64]int{}
	for _, a := range anchored {
		if a.Size != size {
			if err := b.other(a.Size, a.Note, size); err != nil {
				return nil, err
			}
		}
		switch a.Kind {
		case receipt.AnchorRFC3161:
			if stamps[a.Size] == receipt.MaxStamps { // with authorities that were configured once
				continue
			}
			b.add(receipt.TimestampPart(a.Size, stamps[a.Size], a.Proof))
			stamps[a.Size]++
		case receipt.AnchorBitcoin:
			b.add(receipt.BitcoinPart(a.Size, a.Proof))
		case receipt.AnchorEthereum:
			b.add(receipt.EthereumPart(a.Size, a.Proof))
		}
	}
	if head > 0 && head != size {
		if err := b.consistency(head, size); err != nil {
			return nil, err
		}
	}
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	return receipt.EncodeBundle(b.n.cfg.Domain, b.parts, signer(b.n.keys.receipts))
}

// other adds a checkpoint of another size, proved to be of the same log.
func (b *collection) other(size uint64, note []byte, main uint64) error {
	b.add(receipt.AnchoredPart(size, note))
	return b.consistency(size, main)
}

func (b *collection) consistency(size, main uint64) error {
	path, err := digests(b.n.log.Consistency(min(size, main), max(size, main)))
	if err == nil {
		b.add(receipt.ConsistencyPart(size, main, path))
	}
	return err
}

// anchored returns the verified anchors of checkpoints that cover all receipts. Where the node has an authority, there is
// at least its time-stamp.
func (b *collection) anchored() ([]anchor.Anchored, error) {
	list, err := b.n.anchors.covering(b.ctx, b.last)
	if err != nil {
		return nil, err
	}
	for _, a := range b.around {
		if !slices.ContainsFunc(list, func(x anchor.Anchored) bool { return x.Size == a.Size && x.Target == a.Target }) {
			list = append(list, a)
		}
	}
	return list, nil
}
