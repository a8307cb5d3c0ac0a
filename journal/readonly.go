package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
)

// ReadOnly is a journal that no process writes, opened for a check. Nothing in its folder is changed, except that a lock
// file is made where it is missing. It is safe for concurrent use.
type ReadOnly struct {
	db           *pebble.DB
	commit, mark uint64
}

// OpenReadOnly opens the journal in dir for reading. Conflict says that a node runs on it, NotFound that there is no
// journal, Corrupt that its files are damaged or that acknowledged commits are missing.
func OpenReadOnly(dir string) (*ReadOnly, error) {
	const op = "journal.read"
	if st, err := os.Stat(filepath.Join(dir, "db")); err != nil || !st.IsDir() {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, dir, "there is no journal in it").Because(err).WithFix("name the data folder of a node, or a folder or address of a published log")
	}
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	o := &pebble.Options{ReadOnly: true, ErrorIfNotExists: true, Cache: cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 20,
		DisableTableStats: true, Logger: readLogger{}}
	tune(o)
	db, err := openGuarded(filepath.Join(dir, "db"), o)
	if err != nil {
		err = openError(op, dir, err)
		if vaultmesh.KindOf(err) == vaultmesh.Unavailable && !errors.Is(err, fs.ErrPermission) {
			// What cannot be opened although it may be read is not what the journal wrote.
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "the files cannot be read as a journal").Because(err)
		}
		return nil, err
	}
	r := &ReadOnly{db: db}
	if err := r.check(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func (r *ReadOnly) check(dir string) error {
	const op = "journal.read"
	v, ok, err := get(r.db, commitKey)
	if err != nil || ok && len(v) != 8 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "cannot read the commit number").Because(err)
	}
	if ok {
		r.commit = binary.BigEndian.Uint64(v)
	}
	if r.mark, err = readMark(filepath.Join(dir, "acknowledged")); err != nil {
		return err
	}
	if r.mark > r.commit {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "the journal ends at commit %d, but commit %d was acknowledged: its last records are damaged or missing", r.commit, r.mark).
			WithFix("restore the data folder from a backup or a replica")
	}
	return nil
}

// Commits returns the number of the last commit.
func (r *ReadOnly) Commits() uint64 { return r.commit }

// Get implements [Reader].
func (r *ReadOnly) Get(key []byte) (value []byte, ok bool, err error) {
	defer guard(&err)
	return get(r.db, key)
}

// Scan implements [Reader].
func (r *ReadOnly) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) (err error) {
	defer guard(&err)
	return scan(r.db, lo, hi, fn)
}

func openGuarded(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer guard(&err)
	return pebble.Open(dir, o)
}

// guard turns a panic of the store into an error of kind Corrupt: Pebble takes its files for its own work, and a check
// reads files that anybody may have changed.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = vaultmesh.Errorf(vaultmesh.Corrupt, "journal.read", "", "the store cannot make sense of its files: %v", p)
	}
}

// readLogger drops what Pebble says; where it would end the process, guard has it.
type readLogger struct{}

func (readLogger) Infof(string, ...any)  {}
func (readLogger) Errorf(string, ...any) {}
func (readLogger) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// Close ends the reading.
func (r *ReadOnly) Close() (err error) {
	defer guard(&err)
	return vaultmesh.Wrap(r.db.Close(), "journal.read", "")
}
