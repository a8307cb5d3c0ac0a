package node

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// witnessedUnder asks the witnesses of the policy to cosign the newest checkpoint with the signature of one key of the log
// alone: who cosigns that knows the key. What they cosigned before does not tell, since both keys had signed it. The error is
// a Conflict where no quorum knows the key.
func (n *Node) witnessedUnder(ctx context.Context, key heldKey) error {
	const op = "key.retire"
	if n.cfg.Witness.Policy == "" {
		return nil
	}
	policy, client, err := n.witnessPolicy()
	if err != nil {
		return err
	}
	if !policy.Asks() {
		return nil
	}
	head, err := n.signedBy(key)
	if err != nil {
		return err
	}
	f, err := witness.NewFeeder(witness.FeederOptions{Origin: n.log.Origin(), Log: onlyHead{headSource{n.log}, head}, Policy: policy, HTTP: client, Timeout: n.cfg.Witness.Timeout, Now: n.now, Logger: n.l,
		Keep:   func(context.Context, witness.Head) error { return nil },
		Report: func(context.Context, receipt.ConflictBody, []byte, []byte) error { return nil }}, witness.Head{})
	if err != nil {
		return err
	}
	f.Round(ctx)
	if _, ok := f.Latest(); ok {
		return nil
	}
	var said []string
	for _, p := range f.Status().Peers {
		if p.Error != "" {
			said = append(said, p.Name+": "+p.Error)
		}
	}
	return vaultmesh.Errorf(vaultmesh.Conflict, op, receipt.PurposeLog, "no quorum of the witnesses knows the new key, so nothing would be witnessed any more (%s)", strings.Join(said, "; ")).
		WithFix("give the new verifier key to their operators (vaultmesh key list shows it), and repeat this when they have it; --force retires the old one all the same")
}

// signedBy is the newest checkpoint with the signature of one key alone.
func (n *Node) signedBy(key heldKey) (witness.Head, error) {
	cp := n.log.Checkpoint()
	v, err := note.NewVerifier(key.logKey)
	if err != nil {
		return witness.Head{}, vaultmesh.Errorf(vaultmesh.Corrupt, "key.retire", key.path, "the new key is no key of a log").Because(err)
	}
	opened, err := note.Open(cp.Note, note.VerifierList(v))
	if err != nil {
		return witness.Head{}, vaultmesh.Errorf(vaultmesh.Conflict, "key.retire", key.path, "the newest checkpoint is not signed by the new key").Because(err).WithFix("start the node once, so that both keys sign")
	}
	text := fmt.Appendf(nil, "%s\n\u2014 %s %s\n", opened.Text, opened.Sigs[0].Name, opened.Sigs[0].Base64)
	return witness.Head{Size: cp.Size, Root: cp.Root, Note: text}, nil
}

// onlyHead is the log with another note of its newest checkpoint.
type onlyHead struct {
	headSource
	head witness.Head
}

// Head implements [witness.Source].
func (o onlyHead) Head() (witness.Head, bool) { return o.head, true }
