package whatif

import (
	"bytes"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// MaxOldestData is the largest age that a verdict may state, so that it stays an exact integer in canonical JSON
// (2^53 ns is 104 days). A simulator states this where the data are older still.
const MaxOldestData = 100 * 24 * time.Hour

// maxVerdict bounds the canonical form of a verdict, in bytes.
const maxVerdict = 1 << 20

// Seal returns v with its ID set to the digest of every other field: SHA-256 over the canonical JSON (RFC 8785) of
// the verdict with an empty ID. Empty arguments become absent ones, which have a JSON form. It fails with Invalid where a number is not finite, the arguments are not one JSON
// value, or OldestData is outside 0..MaxOldestData, and with TooLarge beyond 1 MiB.
func Seal(v Verdict) (Verdict, error) {
	if len(v.Query.Args) == 0 {
		v.Query.Args = nil
	}
	id, err := v.digest()
	if err != nil {
		return Verdict{}, err
	}
	v.ID = id
	return v, nil
}

func (v Verdict) digest() (vaultmesh.Digest, error) {
	const op = "whatif.seal"
	if v.OldestData < 0 || v.OldestData > MaxOldestData {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "oldest_data_ns", "%s is outside 0..%s", v.OldestData, MaxOldestData)
	}
	v.ID = vaultmesh.Digest{}
	raw, err := json.Marshal(v)
	if err != nil {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Invalid, op, string(v.Query.Twin), "the verdict has no JSON form").Because(err).
			WithFix("every number must be finite and the arguments one JSON value")
	}
	canonical, err := receipt.Canonical(raw, receipt.Limits{Bytes: maxVerdict})
	if err != nil {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Invalid, op, string(v.Query.Twin), "the verdict has no canonical form").Because(err).
			WithFix("integers are below 2^53, and the lists of violations are bounded")
	}
	return vaultmesh.Sum(canonical), nil
}

// Check reports whether v may support a decision on q now: it is unaltered since [Seal], it is about this very
// command, its snapshot is at most maxAge old (and not from the future), and the topology it was computed on is still
// the present one. It does not judge the outcome: a checked verdict may well say unsafe.
//
// A verdict with the N-1 check serves a query without; not the other way round. Errors: Corrupt (altered or never
// sealed), Conflict (another command, or the topology changed), Stale (too old, or taken after now), Invalid (q has no
// canonical form).
func (v Verdict) Check(q Query, now time.Time, maxAge time.Duration, topology vaultmesh.Digest) error {
	const op = "whatif.check"
	subject := string(q.Twin)
	id, err := v.digest()
	if err != nil || v.ID.IsZero() || id != v.ID {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, subject, "the verdict does not match its digest").WithFix("simulate again")
	}
	same, err := sameCommand(v.Query, q)
	if err != nil {
		return err
	}
	if !same {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, subject, "the verdict is about %q on %q or about other arguments, not about this command", v.Query.Command, v.Query.Twin).
			WithFix("simulate exactly the command that is to run")
	}
	if q.N1 && !v.Query.N1 {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, subject, "the N-1 check is required and the verdict has none").WithFix("simulate again with n1")
	}
	age := now.Sub(v.Taken)
	if age < 0 {
		return vaultmesh.Errorf(vaultmesh.Stale, op, subject, "the verdict was taken %s after now", -age).WithFix("check the clock, then simulate again")
	}
	if age > maxAge {
		return vaultmesh.Errorf(vaultmesh.Stale, op, subject, "the verdict is %s old, the limit is %s", age, maxAge).WithFix("simulate again")
	}
	if v.Topology != topology {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, subject, "the topology has changed since the verdict: a switch moved or an element came or went").
			WithFix("simulate again")
	}
	return nil
}

// sameCommand compares twin, command and canonical arguments. Absent arguments, null and the empty object are the same
// request: a command without arguments.
func sameCommand(a, b Query) (bool, error) {
	if a.Twin != b.Twin || a.Command != b.Command {
		return false, nil
	}
	if bytes.Equal(a.Args, b.Args) {
		return true, nil
	}
	left, err := request(a.Args)
	if err != nil {
		return false, nil // a sealed verdict has canonical arguments, so nothing can equal these
	}
	right, err := request(b.Args)
	if err != nil {
		return false, vaultmesh.Errorf(vaultmesh.Invalid, "whatif.check", string(b.Twin), "the arguments have no canonical form").Because(err)
	}
	return bytes.Equal(left, right), nil
}

// request returns the canonical form of arguments.
func request(args json.RawMessage) ([]byte, error) {
	if len(args) == 0 || string(args) == "null" {
		return []byte("{}"), nil
	}
	return receipt.Canonical(args, receipt.Limits{})
}
