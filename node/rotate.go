package node

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// KeyChange asks for the rotation of one key.
type KeyChange struct {
	Purpose string // log, receipt or capability
	Reason  string
	// Retire ends the old key in the same commit: no overlap. It is for a key that is lost or stolen.
	Retire bool
	// ByRoot has the domain's root speak instead of the old key, which may be lost.
	ByRoot bool
}

// KeyRetirement asks for the end of the overlap of a rotation.
type KeyRetirement struct {
	Purpose string
	Reason  string
	Force   bool // although no quorum of witnesses knows the log's new key
}

// KeyInfo describes one key for people.
type KeyInfo struct {
	Purpose string    `json:"purpose"`
	ID      string    `json:"id"` // receipt.KeyID
	Public  []byte    `json:"public"`
	LogKey  string    `json:"log_key,omitempty"`      // verifier key text; purpose log only
	From    uint64    `json:"from,string"`            // first log index of a receipt, and size of a checkpoint, that it may sign
	Until   uint64    `json:"until,omitempty,string"` // index of the receipt that retired it
	Expires time.Time `json:"expires,omitzero"`       // of the root's delegation
	State   string    `json:"state"`                  // current, overlap, retired, or unused: a file that no receipt names
	File    string    `json:"file,omitempty"`         // where its private half is; empty: this node does not hold it
}

// withLog runs f on the journal and the log of a node that does not run.
func withLog(ctx context.Context, cfg Config, lost bool, l *slog.Logger, f func(n *Node) error) (err error) {
	if err := cfg.checkOffline(); err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, "key", cfg.Data, "there is no such data folder").Because(err).WithFix("start the node once, or name its folder")
	}
	n := &Node{cfg: cfg, actor: vaultmesh.Principal("node:" + cfg.Name), now: time.Now, l: l, fail: make(chan error, 1), lost: lost}
	defer func() {
		if closed := n.Close(); err == nil {
			err = closed
		}
	}()
	if err := n.openKeys(ctx); err != nil {
		return err
	}
	if err := n.openLog(); err != nil {
		return err
	}
	if n.log.Checkpoint() == nil {
		return vaultmesh.Errorf(vaultmesh.Conflict, "key", cfg.Data, "the domain has not begun").WithFix("start the node once")
	}
	return f(n)
}

// RotateKey makes a new key and has the old one (or the root) hand over to it, in one commit of the log. The node must
// not run; it takes up the new key when it starts. Of the log, both keys sign until [RetireKey]; of the other purposes
// the new one signs at once, and the old one counts for receipts until it is retired.
//
// It may be killed at any moment: the rotation has happened exactly when its receipt is durable, and a key file that no
// receipt names means nothing.
func RotateKey(ctx context.Context, cfg Config, c KeyChange, l *slog.Logger) (made KeyInfo, err error) {
	err = withLog(ctx, cfg, c.ByRoot, l, func(n *Node) error {
		h, err := lawchain.ReadKeys(n.journal, cfg.Domain, n.root.roots())
		if err != nil {
			return err
		}
		live := h.Live(c.Purpose)
		if len(live) == 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, "key.rotate", c.Purpose, "no such purpose").WithFix("use log, receipt or capability")
		}
		if c.Purpose == receipt.PurposeLog && len(live) > 1 {
			return vaultmesh.Errorf(vaultmesh.Conflict, "key.rotate", c.Purpose, "a rotation of it is under way: two keys sign").WithFix("end it with `vaultmesh key retire log`, once witnesses and auditors know the new key")
		}
		fresh, err := newKey(n.keysDir(), c.Purpose, cfg.Domain)
		if err != nil {
			return err
		}
		n.failpoint("key")
		bodies, err := n.handOver(ctx, c, live[len(live)-1], fresh)
		if err != nil {
			return err
		}
		n.keys.held = append(n.keys.held, fresh)
		// From the checkpoint of this very commit on, the keys sign that are live after it.
		var signers []note.Signer
		for _, k := range h.Live(receipt.PurposeLog) {
			held, ok := n.keys.find(receipt.PurposeLog, k.Public)
			switch {
			case c.Purpose == receipt.PurposeLog && c.Retire:
			case !ok:
				return vaultmesh.Errorf(vaultmesh.NotFound, "key.rotate", receipt.PurposeLog, "no file holds the key of the log, %s", receipt.KeyID(k.Public)).WithFix("replace it first: `vaultmesh key rotate log --by-root --retire`")
			default:
				signers = append(signers, held.signer)
			}
		}
		if c.Purpose == receipt.PurposeLog {
			signers = append(signers, fresh.signer)
		}
		if err := n.submitKeys(ctx, bodies, signers); err != nil {
			return err
		}
		list, err := n.listKeys()
		if err != nil {
			return err
		}
		for _, k := range list {
			if k.File == fresh.path {
				made = k
			}
		}
		return nil
	})
	return made, err
}

// handOver signs the statements of a rotation.
func (n *Node) handOver(ctx context.Context, c KeyChange, old receipt.Key, fresh heldKey) ([]receipt.KeyBody, error) {
	now := n.now().UTC().Truncate(time.Microsecond)
	s := receipt.KeyStatement{Act: receipt.KeyRotated, Domain: n.cfg.Domain, Purpose: c.Purpose, Origin: old.Origin, Key: public(fresh.private), By: old.Public, Time: now, Reason: c.Reason}
	by, err := n.speaker(ctx, c, old)
	if err != nil {
		return nil, err
	}
	if c.ByRoot {
		s.By = n.root.public
	}
	first, err := receipt.SignKey(s, by, signWith(fresh))
	if err != nil || !c.Retire {
		return []receipt.KeyBody{first}, err
	}
	end, err := receipt.SignKey(receipt.KeyStatement{Act: receipt.KeyRetired, Domain: s.Domain, Purpose: s.Purpose, Origin: s.Origin, Key: old.Public, By: s.Key, Time: now, Reason: c.Reason}, signWith(fresh), nil)
	return []receipt.KeyBody{first, end}, err
}

func signWith(h heldKey) func([]byte) ([]byte, error) {
	return func(m []byte) ([]byte, error) { return ed25519.Sign(h.private, m), nil }
}

// speaker signs for whoever hands over.
func (n *Node) speaker(ctx context.Context, c KeyChange, old receipt.Key) (func([]byte) ([]byte, error), error) {
	if !c.ByRoot {
		held, ok := n.keys.find(c.Purpose, old.Public)
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.NotFound, "key.rotate", c.Purpose, "no file holds the key so far, %s", receipt.KeyID(old.Public)).WithFix("let the domain's root speak: --by-root")
		}
		return signWith(held), nil
	}
	if n.cfg.Keys.Root.Provider == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "key.rotate", c.Purpose, "the domain has no root").WithFix("configure keys.root")
	}
	if err := n.root.reach(ctx); err != nil {
		return nil, err
	}
	if n.root.key == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "key.rotate", c.Purpose, "the root is out of reach")
	}
	return func(m []byte) ([]byte, error) { return n.root.key.Sign(ctx, m) }, nil
}

func (n *Node) submitKeys(ctx context.Context, bodies []receipt.KeyBody, signers []note.Signer) error {
	return n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		_, err := n.log.ChangeKeys(tx, n.actor, n.now().UTC(), bodies, n.root.roots(), signers)
		return err
	})
}

// RetireKey ends the overlap of a rotation: every key of the purpose but the newest signs nothing any more. The node must
// not run. Who does not know the newest key by then, and does not follow the log's receipts, cannot verify what comes.
//
// Where the log has a witness policy, the witnesses are asked whether they know the log's new key; without a quorum that
// does, the error is a Conflict, unless c.Force is set: from then on nothing would be witnessed.
func RetireKey(ctx context.Context, cfg Config, c KeyRetirement, l *slog.Logger) (retired []KeyInfo, err error) {
	purpose, reason := c.Purpose, c.Reason
	err = withLog(ctx, cfg, false, l, func(n *Node) error {
		h, err := lawchain.ReadKeys(n.journal, cfg.Domain, n.root.roots())
		if err != nil {
			return err
		}
		live := h.Live(purpose)
		if len(live) < 2 {
			return vaultmesh.Errorf(vaultmesh.Conflict, "key.retire", purpose, "%d keys of this purpose are not retired: there is none to retire", len(live)).WithFix("rotate first: `vaultmesh key rotate %s`", purpose)
		}
		newest := live[len(live)-1]
		held, ok := n.keys.find(purpose, newest.Public)
		if !ok {
			return vaultmesh.Errorf(vaultmesh.NotFound, "key.retire", purpose, "no file holds the newest key, %s", receipt.KeyID(newest.Public))
		}
		if purpose == receipt.PurposeLog {
			switch err := n.witnessedUnder(ctx, held); {
			case err != nil && c.Force:
				l.Warn("the key is retired all the same", "error", err)
			case err != nil:
				return err
			}
		}
		now := n.now().UTC().Truncate(time.Microsecond)
		var bodies []receipt.KeyBody
		for _, old := range live[:len(live)-1] {
			b, err := receipt.SignKey(receipt.KeyStatement{Act: receipt.KeyRetired, Domain: cfg.Domain, Purpose: purpose, Origin: old.Origin, Key: old.Public, By: newest.Public, Time: now, Reason: reason}, signWith(held), nil)
			if err != nil {
				return err
			}
			bodies = append(bodies, b)
		}
		signers := n.keys.signers
		if purpose == receipt.PurposeLog {
			signers = signers[len(signers)-1:]
		}
		if err := n.submitKeys(ctx, bodies, signers); err != nil {
			return err
		}
		list, err := n.listKeys()
		for _, k := range list {
			if slices.ContainsFunc(bodies, func(b receipt.KeyBody) bool { return string(b.Key) == string(k.Public) }) {
				retired = append(retired, k)
			}
		}
		return err
	})
	return retired, err
}

// ListKeys returns the keys of a domain whose node does not run: those that the log names, and files that it does not.
func ListKeys(ctx context.Context, cfg Config, l *slog.Logger) (out []KeyInfo, err error) {
	err = withLog(ctx, cfg, false, l, func(n *Node) error {
		out, err = n.listKeys()
		return err
	})
	return out, err
}

func (n *Node) listKeys() (out []KeyInfo, err error) {
	h, err := lawchain.ReadKeys(n.journal, n.cfg.Domain, n.root.roots())
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, purpose := range []string{receipt.PurposeLog, receipt.PurposeReceipt, receipt.PurposeCapability} {
		live := h.Live(purpose)
		for _, k := range h.Keys(purpose) {
			i := KeyInfo{Purpose: purpose, ID: receipt.KeyID(k.Public), Public: k.Public, From: k.From, Until: k.Until, Expires: k.Expires, State: "overlap"}
			switch {
			case k.Until != 0:
				i.State = "retired"
			case k.Public.Equal(live[len(live)-1].Public):
				i.State = "current"
			}
			if purpose == receipt.PurposeLog {
				if i.LogKey, err = k.LogKey(); err != nil {
					return nil, err
				}
			}
			if held, ok := n.keys.find(purpose, k.Public); ok {
				i.File, named[held.path] = held.path, true
			}
			out = append(out, i)
		}
	}
	for _, held := range n.keys.held {
		if !named[held.path] {
			out = append(out, KeyInfo{Purpose: held.purpose, ID: receipt.KeyID(public(held.private)), Public: public(held.private), LogKey: held.logKey, State: "unused", File: held.path})
		}
	}
	return out, nil
}
