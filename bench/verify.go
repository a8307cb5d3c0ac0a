package bench

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// targetVerify is the time to verify one receipt of a bundle offline, in milliseconds.
const targetVerify = 0.5

// lives is how many commands the verified bundle holds, each with three receipts: proposed, assessed, denied.
const lives = 100

// verifyBundle measures the offline verifier on a bundle of whole commands, times a receipt.
func verifyBundle(ctx context.Context, o Options, counts map[string]uint64) (Measurement, error) {
	dir, err := o.folder("verify")
	if err != nil {
		return Measurement{}, err
	}
	t, err := openTruth(dir, false, o.Log)
	if err != nil {
		return Measurement{}, err
	}
	defer t.close()
	bundle, trust, err := t.bundleOfDenied(ctx)
	if err != nil {
		return Measurement{}, err
	}
	n := uint64(lives * 3)
	d := min(o.For, 2*time.Second)
	bare, took := bareVerify(t.receipts, d/2)
	floor := figureOf(bare, "one bare ed25519 verification of 1 KiB", took)
	all, start := &pace.Times{}, time.Now()
	err = o.profiled("verify", func() error {
		for time.Since(start) < d && ctx.Err() == nil {
			began := time.Now()
			if r := receipt.Verify(bundle, trust); !r.OK {
				return vaultmesh.Errorf(vaultmesh.Corrupt, "bench.verify", "bundle", "the verifier does not accept it: %v", r.Failed())
			}
			all.Add(time.Since(began) / time.Duration(n))
		}
		return ctx.Err()
	})
	if err != nil {
		return Measurement{}, err
	}
	counts["verified"] = all.N() * n
	f := figureOf(all, "", time.Since(start))
	return Measurement{Name: fmt.Sprintf("offline verify, a receipt (of a bundle of %d)", n), P50: f.P50, P99: f.P99, Rate: f.Rate * float64(n), Floor: &floor,
		Ratio: over(f.P50, floor.P50), RatioOf: "verify p50 over p50 of a bare signature check (less is better)", Target: fmt.Sprintf("p50 <= %g ms", targetVerify), Met: f.P50 <= targetVerify}, nil
}

// bareVerify checks one signature again and again.
func bareVerify(key ed25519.PrivateKey, d time.Duration) (*pace.Times, time.Duration) {
	message := make([]byte, 1024)
	sig, pub := ed25519.Sign(key, message), key.Public().(ed25519.PublicKey)
	t, start := &pace.Times{}, time.Now()
	for time.Since(start) < d {
		began := time.Now()
		_ = ed25519.Verify(pub, message, sig)
		t.Add(time.Since(began))
	}
	return t, time.Since(start)
}

// bareSign returns how many receipts of 1 KiB one core could sign in a second if it did nothing else: the ceiling of the
// signed rate, since a receipt is signed where it gets its place, one after the other.
func bareSign(key ed25519.PrivateKey, d time.Duration) float64 {
	message := make([]byte, 1024)
	n, start := 0, time.Now()
	for ; time.Since(start) < d; n++ {
		_ = ed25519.Sign(key, message)
	}
	return float64(n) / time.Since(start).Seconds()
}

// bundleOfDenied writes commands that the gate refused, with real capabilities, and packs their evidence with what an
// auditor pins.
func (t *truth) bundleOfDenied(ctx context.Context) ([]byte, *receipt.Trust, error) {
	root, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	who, err := newHolder(root, "agent:bench", time.Now(), capability.Command)
	if err != nil {
		return nil, nil, err
	}
	for i := range lives {
		drafts, err := who.denied(vaultmesh.CommandID(fmt.Sprintf("denied-%d", i)))
		if err != nil {
			return nil, nil, err
		}
		err = t.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
			for _, d := range drafts {
				if _, _, err := t.log.Append(tx, d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	bundle, err := t.bundle()
	return bundle, t.trust(root), err
}

// denied returns the receipts of one refused command.
func (h *holder) denied(id vaultmesh.CommandID) ([]receipt.Draft, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	args := json.RawMessage(`{"megawatts":451.5}`)
	ref := receipt.CommandRef{Command: id, Twin: "gen-10", Name: "setActivePower", ArgsDigest: vaultmesh.Sum(args)}
	policy := vaultmesh.Sum([]byte("policy"))
	var out []receipt.Draft
	for _, step := range []struct {
		kind    string
		actor   vaultmesh.Principal
		policy  vaultmesh.Digest
		outcome string
		body    any
	}{
		{receipt.CommandProposed, h.verified.Principal, vaultmesh.Digest{}, "", receipt.ProposedBody{CommandRef: ref, Args: args, IdempotencyKey: string(id), TwinVersion: 1, Expires: now.Add(time.Minute), Token: h.token}},
		{receipt.CommandAssessed, "node:bench", policy, "assessed: deny", receipt.AssessedBody{CommandRef: ref, TwinVersion: 1}},
		{receipt.CommandDenied, "node:bench", policy, "denied", receipt.ReasonBody{CommandRef: ref, Reason: "beyond the unit's capability", Stage: "limits"}},
	} {
		body, err := receipt.Body(step.body)
		if err != nil {
			return nil, err
		}
		d := receipt.Draft{Kind: step.kind, Subject: receipt.CommandSubject(id), Actor: step.actor, Time: now, Policy: step.policy, Outcome: step.outcome, Body: body}
		if step.kind == receipt.CommandProposed {
			d.Capability = h.verified.Digest()
		}
		out = append(out, d)
	}
	return out, nil
}

// bundle packs the whole log.
func (t *truth) bundle() ([]byte, error) {
	cp := t.log.Checkpoint()
	parts := []receipt.Part{receipt.CheckpointPart(cp.Note)}
	for i := vaultmesh.LogIndex(0); uint64(i) < cp.Size; i++ {
		envelope, err := t.log.Receipt(i)
		if err != nil {
			return nil, err
		}
		hashes, err := t.log.Inclusion(i, cp.Size)
		if err != nil {
			return nil, err
		}
		path := make([]vaultmesh.Digest, len(hashes))
		for n, h := range hashes {
			path[n] = vaultmesh.Digest(h)
		}
		parts = append(parts, receipt.ReceiptPart(i, envelope), receipt.InclusionPart(i, path, cp.Note))
	}
	return receipt.EncodeBundle(domain, parts, signer(t.receipts))
}

func (t *truth) trust(root ed25519.PrivateKey) *receipt.Trust {
	pin := func(k ed25519.PrivateKey) receipt.TrustedKey {
		pub := k.Public().(ed25519.PublicKey)
		return receipt.TrustedKey{ID: receipt.KeyID(pub), Public: pub}
	}
	return &receipt.Trust{Domain: domain, Log: receipt.TrustedLog{Origin: origin, Key: t.logKey}, ReceiptKeys: []receipt.TrustedKey{pin(t.receipts)}, CapabilityRoots: []receipt.TrustedKey{pin(root)}}
}

// holder is somebody with a capability.
type holder struct {
	verified capability.Verified
	token    string
}

// newHolder issues a capability for every twin and command, good for a day.
func newHolder(root ed25519.PrivateKey, who vaultmesh.Principal, now time.Time, verbs ...capability.Verb) (*holder, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	g := capability.Grant{Actions: verbs, Twins: []string{"*"}, Commands: []string{"*"}, NotBefore: now.Add(-time.Minute).Truncate(time.Second),
		Expires: now.Add(24 * time.Hour).Truncate(time.Second), Audience: []vaultmesh.Domain{domain}}
	token, err := capability.Issue(root, who, key.Public().(ed25519.PublicKey), g)
	if err != nil {
		return nil, err
	}
	v, err := capability.Verify(token, root.Public().(ed25519.PublicKey), now, domain)
	return &holder{verified: v, token: token.String()}, err
}
