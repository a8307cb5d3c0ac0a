package witness

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
)

// record is the second copy of what a witness cosigned, kept beside its key and not in its folder: a folder that is lost
// or put back to an older copy while the key stays is found out by it. It is written after the folder and before the
// cosignature, so that it is at least as new as everything that was cosigned. The zero value keeps nothing.
//
// What it cannot find: a folder and a record that are lost or put back together, to the same moment.
type record struct{ dir string }

// fixLost is what is left to an operator of a witness whose folder is older than its record.
const fixLost = "restore the folder from a backup that is certainly the newest, and never the two from backups of different times; if the record beside the key was itself not restored from a backup, start once with recover (witness serve --recover, witness.serve.recover) to take what was cosigned from it; otherwise retire this witness: move the key, the record and the folder away, so that a new key is made, and tell it to those who trust the old one"

// claim binds the record to the key. fresh says that the folder knows nothing yet; claimed that the folder was claimed
// with a record, which must then be there. A record with heads is worth nothing beside a fresh folder: it is lost.
func (r record) claim(id string, fresh, claimed, recovering bool) error {
	const op = "witness.open"
	path := filepath.Join(r.dir, "key")
	have, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && claimed:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.dir, "the record beside the key is gone, by which a folder that was put back is known").
			WithFix("restore it together with the key; if this folder is certainly the newest, remove the file recorded in it, and the record is made anew from it")
	case errors.Is(err, fs.ErrNotExist):
		if err := durable.Replace(path, []byte(id), 0o600); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, op, r.dir, "the record of what is cosigned cannot be kept beside the key").Because(err).
				WithFix("make the folder writable for this user, or name another one that shares the fate of the key")
		}
		return nil
	case err != nil || string(have) != id:
		return vaultmesh.Errorf(vaultmesh.Conflict, op, r.dir, "the record is of the witness %.120q, the key is of %.120q", bytes.TrimSpace(have), id[:len(id)-1]).Because(err).
			WithFix("a new key needs a new folder and a new record: move the old ones away together with the old key")
	}
	if !fresh || recovering {
		return nil
	}
	names, err := r.names()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.dir, "this key has cosigned %d logs, and the witness's folder knows nothing of it: it was lost", len(names)).WithFix(fixLost)
	}
	return nil
}

// names are the files of the heads.
func (r record) names() ([]string, error) {
	all, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "witness.record", r.dir, "cannot read").Because(err)
	}
	var out []string
	for _, e := range all {
		if len(e.Name()) == 2*len(vaultmesh.Digest{}) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// put makes a head durable in the record.
func (r record) put(name string, h head) error {
	if r.dir == "" {
		return nil
	}
	return durable.Replace(filepath.Join(r.dir, name), encodeHead(h.note), 0o600)
}

// newest compares the head in the folder with the recorded one. It returns the one that counts: the folder's, unless the
// record is newer and recovering says that it counts then, and whether both hold it.
func (r record) newest(origin, file string, h head, recovering bool) (_ head, same bool, err error) {
	if r.dir == "" {
		return h, true, nil
	}
	kept, err := readHead(filepath.Join(r.dir, originName(origin)), origin)
	if err != nil {
		return h, false, err
	}
	switch {
	case kept.note == nil || h.note != nil && h.size > kept.size:
		return h, false, nil // killed between the two
	case h.note != nil && h.size == kept.size && h.root == kept.root:
		return h, true, nil
	case recovering && (h.note == nil || h.size < kept.size):
		return kept, false, nil
	}
	return h, false, vaultmesh.Errorf(vaultmesh.Corrupt, "witness.open", file, "the key has cosigned the log %.120q at size %d, and the witness's folder holds %d: it is an older copy or another one", origin, kept.size, h.size).
		WithFix(fixLost)
}
