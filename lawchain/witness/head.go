package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// head is the newest checkpoint of a log that this witness accepted.
type head struct {
	size uint64
	root vaultmesh.Digest
	note []byte // as it was submitted; nil where the log was never cosigned
}

// The file of a head: one line with the digest of what follows, then the signed note. The line finds damage that the
// note's own signature would not, because the keys of a log come and go.
const headMagic = "vaultmesh witness head sha256:"

func originName(origin string) string {
	d := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(d[:])
}

func encodeHead(note []byte) []byte {
	d := sha256.Sum256(note)
	return append([]byte(headMagic+hex.EncodeToString(d[:])+"\n"), note...)
}

// readHead loads the head of a log; a file that is not there is a log without one. A witness that forgot what it cosigned must not go on: damage is of kind Corrupt.
func readHead(path, origin string) (head, error) {
	const op = "witness.head"
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, nil
	}
	if err != nil {
		return head{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read").Because(err)
	}
	_, note, _ := bytes.Cut(b, []byte("\n"))
	if !bytes.Equal(encodeHead(note), b) {
		return head{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the record of what was cosigned is damaged").
			WithFix(fixForgotten)
	}
	c, _, err := parseText(note)
	if err != nil || c.Origin != origin {
		return head{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the record is of %.80q, not of %.80q", c.Origin, origin).Because(err)
	}
	return head{size: c.Size, root: vaultmesh.Digest(c.Hash), note: note}, nil
}

// The file of the origins: one line with the digest of what follows, then the names of the files that must be in logs, one
// a line. It tells a log that was never cosigned from one whose record is gone: only the first begins with nothing.
const originsMagic = "vaultmesh witness origins sha256:"

func encodeOrigins(names []string) []byte {
	body := []byte(strings.Join(names, "\n") + "\n")
	d := sha256.Sum256(body)
	return append([]byte(originsMagic+hex.EncodeToString(d[:])+"\n"), body...)
}

// readOrigins returns the names, sorted. The file is made with the folder: without it everything is forgotten.
func readOrigins(path string) ([]string, error) {
	const op = "witness.origins"
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read").Because(err)
	}
	_, body, _ := strings.Cut(string(b), "\n")
	names := strings.Fields(body)
	if err != nil || !bytes.Equal(encodeOrigins(names), b) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the list of the logs that were cosigned is missing or damaged").Because(err).WithFix(fixForgotten)
	}
	return names, nil
}

// fixForgotten is what is left to a witness that forgot what it cosigned.
const fixForgotten = "restore the folder from a backup that is certainly the newest; otherwise retire this witness and its key: it may have cosigned a larger tree"
