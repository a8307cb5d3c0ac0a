package receipt

import (
	"bytes"

	"vaultmesh.org/vaultmesh"
)

// maxNote bounds a signed checkpoint with its cosignatures, in bytes.
const maxNote = 64 << 10

// CheckpointBody returns the body of a signed checkpoint (C2SP signed-note): the text before the blank line that precedes
// the signatures, with its final newline. Its SHA-256 is what anchors date, since cosignatures that are added later and
// a rotated key do not change it. The signatures are not looked at. The result shares its bytes with note. Errors are of
// kind Invalid or TooLarge.
func CheckpointBody(note []byte) ([]byte, error) {
	const op = "checkpoint.body"
	if len(note) > maxNote {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a checkpoint of %d bytes, the limit is %d", len(note), maxNote)
	}
	// The text may itself hold blank lines; signatures cannot, so the last one parts the two (C2SP signed-note).
	end := bytes.LastIndex(note, []byte("\n\n"))
	if end < 0 || !bytes.HasPrefix(note[end+2:], []byte("\u2014 ")) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a signed note: no blank line with signatures after it").
			WithFix("want the checkpoint as the log publishes it")
	}
	return note[: end+1 : end+1], nil
}
