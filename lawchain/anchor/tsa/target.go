package tsa

import (
	"context"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/receipt"
)

// Target has checkpoints stamped by one authority: an [anchor.Target] of one step, without blocks and without a fee. It
// is safe for concurrent use where its Client is.
type Target struct {
	// Authority names it in receipts and metrics; it is the operator's word for it, not the certificate's.
	Authority string
	Client    *Client
	// Drift is how far the stamp's time may be from this machine's, beside the stamp's own accuracy; 0 means a minute. A
	// stamp earlier than what it stamps would make every bundle that rests on it fail.
	Drift time.Duration
	// Accuracy is the most that the authority may say of its own accuracy; 0 means a minute. A bundle's verifier lets
	// receipts be that much later than the stamp.
	Accuracy time.Duration
	Now      func() time.Time // default time.Now
}

// Name implements [anchor.Target].
func (t *Target) Name() string { return "rfc3161/" + t.Authority }

// Kind implements [anchor.Target].
func (t *Target) Kind() string { return "rfc3161" }

// Advance implements [anchor.Target]: it asks once, and is done if the response verifies. A response that is lost in a
// crash is asked for again; nothing is paid.
func (t *Target) Advance(ctx context.Context, j anchor.Job) (anchor.Job, error) {
	reply, ts, err := t.Client.Request(ctx, j.Digest)
	if err == nil {
		err = t.near(ts, t.now(), t.now())
	}
	if err != nil {
		return j, err
	}
	j.State, j.Proof, j.Detail = anchor.Final, reply, "stamped by "+ts.Signer
	return j, nil
}

// Proved implements [anchor.Target]: the response is over the digest, its chain leads to a pinned root and was valid at
// its time, which is not before the job was made and not after now. The nonce was compared when the response came.
func (t *Target) Proved(_ context.Context, j anchor.Job) (anchor.Proved, error) {
	ts, err := receipt.VerifyTimestamp(j.Proof, j.Digest, t.Client.Roots)
	if err == nil {
		err = t.near(ts, j.Created, t.now())
	}
	if err != nil {
		return anchor.Proved{}, vaultmesh.Wrap(err, "tsa.prove", j.ID)
	}
	return anchor.Proved{Time: ts.Time, Source: ts.Signer}, nil
}

func (t *Target) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

// near refuses a time outside of [from, to], give or take the accuracy and the drift.
func (t *Target) near(ts receipt.Timestamp, from, to time.Time) error {
	drift := t.Drift
	if drift <= 0 {
		drift = time.Minute
	}
	most := t.Accuracy
	if most <= 0 {
		most = time.Minute
	}
	if ts.Accuracy < 0 || ts.Accuracy > most {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "tsa.time", t.Authority, "it says that its time may be off by %s, more than the %s that are accepted", ts.Accuracy, most).
			WithFix("choose an authority with a better clock, or set accuracy of this one in the configuration")
	}
	drift += ts.Accuracy
	off := time.Duration(0)
	switch {
	case ts.Time.Before(from.Add(-drift)):
		off = ts.Time.Sub(from)
	case ts.Time.After(to.Add(drift)):
		off = ts.Time.Sub(to)
	default:
		return nil
	}
	return vaultmesh.Errorf(vaultmesh.Corrupt, "tsa.time", t.Authority, "the stamp's time is %s off this machine's clock", off.Round(time.Second)).
		WithFix("compare the clock with a good source; if it is right, the authority's is wrong")
}
