package receipt_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// replaced is a domain whose keys of the log and of receipts were replaced and retired, and a thief who has the old ones
// and the public log, and goes on with it.
type replaced struct {
	honest, thief *sample.World
	trust         *receipt.Trust // pins the old keys and the new ones
	oldLog        receipt.Key
	rooted        receipt.Ref // state root before the retirements
	until         [2]uint64   // indexes of the retirements: log, receipts
	root          receipt.Ref // state root after them
	head          uint64      // that the auditor knows
	forged        vaultmesh.LogIndex
	note          []byte // of the thief
}

func replaceKeys(t *testing.T) *replaced {
	t.Helper()
	w := sample.New(t)
	w.Tell()
	x := &replaced{honest: w}
	oldLog, oldText, oldKey := w.LogKey, w.LogVerifier(), w.Key
	thief := *w
	w.RotateLog("second", 14*time.Second)
	w.RotateReceipts("receipts2", 14*time.Second)
	x.rooted = w.Root(14 * time.Second)
	var err error
	if x.oldLog, err = receipt.ParseLogKey(oldText); err != nil {
		t.Fatal(err)
	}
	x.until[0] = w.Size()
	w.RetireLog(oldLog, 15*time.Second)
	x.until[1] = w.Size()
	w.RetireReceipts(oldKey, 15*time.Second)
	x.root = w.Root(16 * time.Second)
	x.head = w.Size()
	x.trust = w.Trust()
	x.trust.WitnessPolicy, x.trust.TSARoots = "", nil
	x.trust.Log.Key, x.trust.LogKeys = oldText, []string{w.LogVerifier()}
	x.trust.ReceiptKeys = append(x.trust.ReceiptKeys, receipt.TrustedKey{ID: w.Key.KeyID(), Public: w.Key.Pub()})
	thief.Envelopes, thief.Leaves, thief.Witnesses = slices.Clone(w.Envelopes), slices.Clone(w.Leaves), nil
	thief.Heads = map[string]receipt.Link{}
	for k, v := range w.Heads {
		thief.Heads[k] = v
	}
	x.forged = thief.Add(receipt.HaltCleared, receipt.HaltSubject(sample.Domain), "operator:bob", 17*time.Second, &receipt.HaltBody{Reason: "forged"}, nil).Index
	x.note = thief.Checkpoint(thief.Size(), 0)
	x.thief = &thief
	return x
}

func (x *replaced) demand(complete bool) receipt.Demand {
	return receipt.Demand{Complete: complete, Size: x.head, Root: x.honest.RootOf(x.head), Now: now}
}

// forgery is the thief's bundle, with the receipts of more subjects and further parts.
func (x *replaced) forgery(more []receipt.Part, subjects ...string) []byte {
	w := x.thief
	list := w.Of(append(subjects, receipt.DomainSubject(sample.Domain), receipt.HaltSubject(sample.Domain))...)
	parts := append(w.Receipts(w.Size(), x.note, list...), receipt.CheckpointPart(x.note), w.Consistency(x.head, w.Size()), receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: x.forged, Last: x.forged}}}))
	return w.Pack(append(parts, more...))
}

// A stolen key that was retired counts no more, whether or not the bundle holds the receipt that retired it.
func TestRetirementLeftOut(t *testing.T) {
	x := replaceKeys(t)
	keys, states := receipt.KeySubject(sample.Domain), receipt.StateSubject(sample.Domain)
	key := state.SubjectKey(keys)
	for _, follow := range []bool{false, true} {
		trust := *x.trust
		trust.FollowKeys = follow
		// Whoever was told what is retired refuses at once.
		told := trust
		told.Retired = []receipt.RetiredKey{{ID: receipt.KeyID(x.oldLog.Public), Until: x.until[0]}, {ID: x.thief.Key.KeyID(), Until: x.until[1]}}
		for _, family := range []string{"log.checkpoint", "receipt.signature"} {
			refuses(t, receipt.Demand{}, x.forgery(nil), &told, family, "")
		}
		// Whoever was not is told that it is not proved, and cannot call anything complete.
		r := x.demand(false).Verify(x.forgery(nil), &trust)
		if !slices.ContainsFunc(r.NotProved, func(s string) bool {
			return strings.Contains(s, "several keys that count for log, receipt was not retired")
		}) {
			t.Errorf("follow %v:\n%s", follow, tree(t, r, false))
		}
		refuses(t, x.demand(true), x.forgery(nil), &trust, "history.complete[keys]", "no state proof says how many statements about keys")
		// A state of before the retirements, and one that the thief signs beyond what the auditor knows.
		first := x.honest.Of(keys)[:2]
		old := append(x.thief.Receipts(x.thief.Size(), x.note, first...), receipt.StatePart(0, x.honest.StateProof(x.rooted, key)))
		refuses(t, x.demand(true), x.forgery(append(old, x.thief.Receipts(x.thief.Size(), x.note, x.rooted.Index)...)), &trust, "history.complete[keys]", "complete as of size")
		// The real one shows the retirements.
		real := []receipt.Part{receipt.StatePart(0, x.honest.StateProof(x.root, key))}
		refuses(t, x.demand(true), x.forgery(real, states), &trust, "history.complete[keys]", "receipts are missing")
		refuses(t, x.demand(false), x.forgery(real, states, keys), &trust, "log.checkpoint", "not signed by a trusted key")
	}
	// A state root of the thief's own, beyond what the auditor knows.
	y := replaceKeys(t)
	link := y.thief.Heads[keys]
	delete(y.thief.Heads, keys)
	lie := y.thief.Root(18 * time.Second)
	y.thief.Heads[keys] = link
	y.note = y.thief.Checkpoint(y.thief.Size(), 0)
	lied := append(y.thief.Receipts(y.thief.Size(), y.note, lie.Index), receipt.StatePart(0, y.thief.StateProof(lie, key)))
	refuses(t, y.demand(true), y.forgery(lied), y.trust, "history.complete[keys]", "signed by an older key")
}

// The honest domain, with several keys that count, shows that none was retired; and once it told what is, it need not.
func TestRetirementShown(t *testing.T) {
	x := replaceKeys(t)
	w, keys := x.honest, receipt.KeySubject(sample.Domain)
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 19*time.Second, &receipt.HaltBody{Reason: "a drill"}, nil)
	note := w.Checkpoint(w.Size(), 20*time.Second)
	last := vaultmesh.LogIndex(w.Size() - 1)
	pack := func(indexes []vaultmesh.LogIndex, more ...receipt.Part) []byte {
		parts := append(w.Receipts(w.Size(), note, append(indexes, last)...), receipt.CheckpointPart(note), w.Consistency(x.head, w.Size()), receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: last, Last: last}}}))
		return w.Pack(append(parts, more...))
	}
	proved := pack(w.Of(keys, receipt.StateSubject(sample.Domain)), receipt.StatePart(0, w.StateProof(x.root, state.SubjectKey(keys))))
	told := *x.trust
	told.Retired = []receipt.RetiredKey{{ID: receipt.KeyID(x.oldLog.Public), Until: x.until[0]}, {ID: x.thief.Key.KeyID(), Until: x.until[1]}}
	for name, c := range map[string]struct {
		bundle []byte
		trust  *receipt.Trust
	}{"shown": {proved, x.trust}, "told": {pack(nil), &told}, "both": {proved, &told}} {
		if r := x.demand(true).Verify(c.bundle, c.trust); !r.OK {
			t.Errorf("%s:\n%s", name, tree(t, r, false))
		}
	}
	refuses(t, x.demand(true), pack(nil), x.trust, "history.complete[keys]", "not judged")
}

// In the overlap of a rotation both keys count: whoever asks for completeness is shown that neither was retired.
func TestOverlapShown(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	trust := w.Trust()
	trust.FollowKeys, trust.WitnessPolicy, trust.TSARoots = true, "", nil
	w.RotateLog("second", 14*time.Second)
	root := w.Root(15 * time.Second)
	note := w.Checkpoint(w.Size(), 20*time.Second)
	keys := receipt.KeySubject(sample.Domain)
	parts := append(w.Receipts(w.Size(), note, w.Of(keys, receipt.StateSubject(sample.Domain))...), receipt.CheckpointPart(note), receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: root.Index, Last: root.Index}}}))
	demand := receipt.Demand{Complete: true, Size: w.Size(), Root: w.RootOf(w.Size()), Now: now}
	refuses(t, demand, w.Pack(parts), trust, "history.complete[keys]", "not judged")
	r := demand.Verify(w.Pack(append(parts, receipt.StatePart(0, w.StateProof(root, state.SubjectKey(keys))))), trust)
	if !r.OK {
		t.Error(tree(t, r, false))
	}
}

// A manifest is signed by the key that signs receipts at the size of the main checkpoint.
func TestManifestOfOldKey(t *testing.T) {
	x := replaceKeys(t)
	w := x.honest
	trust := *x.trust
	at := func(size uint64, signer receipt.Signer, subjects ...string) []byte {
		note := w.Checkpoint(size, 20*time.Second)
		b, err := receipt.EncodeBundle(sample.Domain, append(w.Receipts(size, note, w.Of(append(subjects, receipt.DomainSubject(sample.Domain))...)...), receipt.CheckpointPart(note)), signer)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	keys := receipt.KeySubject(sample.Domain)
	old, first := x.thief.Key, w.Of(keys)
	refuses(t, receipt.Demand{}, at(w.Size(), old, keys), &trust, "bundle.manifest", "counts from size 0 until size")
	if r := receipt.Verify(at(w.Size(), w.Key, keys), &trust); !r.OK {
		t.Error(tree(t, r, false))
	}
	told := trust
	told.Retired = []receipt.RetiredKey{{ID: old.KeyID(), Until: x.until[1]}}
	refuses(t, receipt.Demand{}, at(w.Size(), old), &told, "bundle.manifest", "counts from size 0 until size")
	// It handed over, and was not retired yet: the rotations are in, the retirements are not.
	handed := x.until[0]
	note := w.Checkpoint(handed, 20*time.Second)
	parts := append(w.Receipts(handed, note, append(w.Of(receipt.DomainSubject(sample.Domain)), first[:2]...)...), receipt.CheckpointPart(note))
	for i, signer := range []sample.Key{old, w.Key} {
		b, err := receipt.EncodeBundle(sample.Domain, parts, signer)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			refuses(t, receipt.Demand{}, b, &trust, "bundle.manifest", "handed over")
		} else if r := receipt.Verify(b, &trust); !r.OK {
			t.Error(tree(t, r, false))
		}
	}
}

func TestRetiredInTrust(t *testing.T) {
	x := replaceKeys(t)
	id := x.thief.Key.KeyID()
	for name, list := range map[string][]receipt.RetiredKey{
		"a stranger": {{ID: sample.NewKey("nobody").KeyID(), Until: 3}}, "twice": {{ID: id, Until: 3}, {ID: id, Until: 4}}, "until nothing": {{ID: id}}} {
		trust := *x.trust
		trust.Retired = list
		raw, err := json.Marshal(&trust)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.LoadTrust(raw); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	trust := *x.trust
	trust.Retired = []receipt.RetiredKey{{ID: id, Until: 20}}
	raw, err := json.Marshal(&trust)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := receipt.LoadTrust(raw)
	if err != nil || !strings.Contains(string(raw), `"until":"20"`) {
		t.Fatal(err, string(raw))
	}
	pinned, _, err := loaded.Pinned()
	if err != nil || !slices.ContainsFunc(pinned, func(k receipt.Key) bool { return k.Purpose == receipt.PurposeReceipt && k.Until == 20 }) {
		t.Errorf("%+v %v", pinned, err)
	}
}
