package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

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

// readHead loads the head of a log. A witness that forgot what it cosigned must not go on: damage is of kind Corrupt.
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
			WithFix("restore it from a backup that is certainly the newest; otherwise retire this witness and its key: it may have cosigned a larger tree")
	}
	c, _, err := parseText(note)
	if err != nil || c.Origin != origin {
		return head{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the record is of %.80q, not of %.80q", c.Origin, origin).Because(err)
	}
	return head{size: c.Size, root: vaultmesh.Digest(c.Hash), note: note}, nil
}

// writeDurable replaces a file atomically; once it returns, the new content survives a crash.
func writeDurable(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}

// makeDir creates a folder below a durable one.
func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
