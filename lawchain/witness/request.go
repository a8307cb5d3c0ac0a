package witness

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of the protocol.
const (
	MaxRequest = 64 << 10 // bytes of a request or an answer
	maxProof   = 63       // hashes of a consistency proof (C2SP tlog-witness)
)

// sizeType is the content type of the answer that tells the size that the witness holds.
const sizeType = "text/x.tlog.size"

// Request is the body of add-checkpoint.
type Request struct {
	Old        uint64   // size of the tree that the witness holds, as the caller believes
	Proof      [][]byte // RFC 6962 consistency proof from Old to the checkpoint, 32 bytes each
	Checkpoint []byte   // signed note
}

// Marshal writes the request.
func (r Request) Marshal() []byte {
	b := append(strconv.AppendUint([]byte("old "), r.Old, 10), '\n')
	for _, h := range r.Proof {
		b = append(base64.StdEncoding.AppendEncode(b, h), '\n')
	}
	return append(append(b, '\n'), r.Checkpoint...)
}

// ParseRequest reads a request. It accepts only the one form that the specification allows; errors are of kind Invalid
// or TooLarge. The checkpoint is not looked at.
func ParseRequest(body []byte) (Request, error) {
	const op = "witness.request"
	bad := func(format string, args ...any) (Request, error) {
		return Request{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", format, args...)
	}
	if len(body) > MaxRequest {
		return Request{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, at most %d", len(body), MaxRequest)
	}
	first, rest, ok := bytes.Cut(body, []byte("\n"))
	digits, isOld := bytes.CutPrefix(first, []byte("old "))
	if !ok || !isOld {
		return bad(`the first line is not "old" and a size`)
	}
	old, ok := decimal(digits)
	if !ok {
		return bad("the old size is no decimal number without leading zeroes")
	}
	r := Request{Old: old}
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return bad("no empty line parts the proof from the checkpoint")
		}
		rest = after
		if len(line) == 0 {
			break
		}
		if len(r.Proof) == maxProof {
			return bad("the proof has more than %d hashes", maxProof)
		}
		h, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(h) != rfc6962.DefaultHasher.Size() {
			return bad("line %d is not a hash in base64", len(r.Proof)+2)
		}
		r.Proof = append(r.Proof, h)
	}
	r.Checkpoint = rest
	return r, nil
}

// decimal reads a size in the only form that is allowed.
func decimal(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 63)
	return n, err == nil && strconv.FormatUint(n, 10) == string(b)
}

// parseText reads the body of an unverified checkpoint and refuses every form but the one in which it is written.
func parseText(signed []byte) (log.Checkpoint, []byte, error) {
	const op = "witness.checkpoint"
	var c log.Checkpoint
	text, err := receipt.CheckpointBody(signed)
	if err != nil {
		return c, nil, err
	}
	if _, err := c.Unmarshal(text); err != nil {
		return c, nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a checkpoint").Because(err)
	}
	if !bytes.HasPrefix(text, c.Marshal()) || len(c.Hash) != rfc6962.DefaultHasher.Size() || c.Size > 1<<63-1 {
		return c, nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "its first three lines are not in the form of a checkpoint")
	}
	return c, text, nil
}
