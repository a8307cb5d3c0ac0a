package bucket

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
)

// Folder is a [Bucket] on a local disk. What it has written survives a power loss: the file, its name, and the folders
// made for it are synced before Create and Replace return. Files that a killed process left half-written are in .tmp
// alone, and go at the next write.
type Folder struct {
	dir string

	// writing is held to read while an object is put into a folder, and to write while an empty folder is removed.
	writing sync.RWMutex

	mu    sync.Mutex
	ready bool            // .tmp exists and is empty of earlier processes' files
	known map[string]bool // folders that exist durably
}

// NewFolder returns the folder dir; it is made at the first write.
func NewFolder(dir string) (*Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bucket.open", dir, "not a path").Because(err)
	}
	return &Folder{dir: abs, known: map[string]bool{}}, nil
}

// String implements [Bucket].
func (f *Folder) String() string { return f.dir }

// Close implements [Bucket].
func (f *Folder) Close() error { return nil }

func (f *Folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Get implements [Bucket]. It reads regular files only: a pipe in the place of an object would never end.
func (f *Folder) Get(_ context.Context, name string, limit int64) ([]byte, error) {
	const op = "bucket.get"
	if err := check(op, name); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.path(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, folderError(op, f.path(name), err)
	}
	defer func() { _ = file.Close() }()
	st, err := file.Stat()
	if err != nil {
		return nil, folderError(op, f.path(name), err)
	}
	if !st.Mode().IsRegular() {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, f.path(name), "not a regular file")
	}
	if st.Size() > limit {
		return nil, tooLarge(f.path(name), limit)
	}
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, folderError(op, f.path(name), err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(f.path(name), limit)
	}
	return b, nil
}

// Create implements [Bucket]. A folder keeps nothing from deletion, so a retention is refused.
func (f *Folder) Create(_ context.Context, name string, data []byte, retain Retention) error {
	const op = "bucket.create"
	if !retain.Until.IsZero() {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, f.path(name), "a folder has no object lock").WithFix("use an S3 or GCS bucket with object lock, or no retention")
	}
	return f.write(op, name, data, true)
}

// Replace implements [Bucket].
func (f *Folder) Replace(_ context.Context, name string, data []byte) error {
	return f.write("bucket.replace", name, data, false)
}

func (f *Folder) write(op, name string, data []byte, create bool) error {
	if err := check(op, name); err != nil {
		return err
	}
	path := f.path(name)
	f.writing.RLock()
	defer f.writing.RUnlock()
	if create {
		if _, err := os.Lstat(path); err == nil {
			return f.taken(op, path)
		}
	}
	if err := f.prepare(filepath.Dir(path)); err != nil {
		return folderError(op, path, err)
	}
	tmp, err := os.CreateTemp(f.temporary(), "new-*")
	if err != nil {
		return folderError(op, path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return folderError(op, path, err)
	}
	if create {
		err = giveName(tmp.Name(), path)
	} else {
		err = os.Rename(tmp.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return f.taken(op, path)
	}
	if err == nil {
		err = durable.Sync(filepath.Dir(path))
	}
	return folderError(op, path, err)
}

// taken says that an object exists, once it does so durably: the process that gave it its name may have been killed before
// it synced the folder, and whoever is told of a conflict relies on what is there.
func (f *Folder) taken(op, path string) error {
	if err := durable.Sync(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return folderError(op, path, err)
	}
	return vaultmesh.Errorf(vaultmesh.Conflict, op, path, "it exists")
}

// giveName gives the file its name unless that is taken. File systems without hard links have no atomic way to do both;
// there the name was looked up a moment ago.
func giveName(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return os.Rename(tmp, path)
}

func (f *Folder) temporary() string { return filepath.Join(f.dir, ".tmp") }

// prepare makes the folder for temporary files, and dir with every folder above it that is missing, each synced into
// its parent.
func (f *Folder) prepare(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ready {
		if err := f.makeFolder(f.dir); err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(f.temporary()), os.MkdirAll(f.temporary(), 0o755)); err != nil {
			return err
		}
		f.ready = true
	}
	return f.makeFolder(dir)
}

// maxKnown bounds the memory of which folders exist.
const maxKnown = 1 << 12

func (f *Folder) makeFolder(dir string) error {
	if f.known[dir] {
		return nil
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		if parent := filepath.Dir(dir); parent != dir {
			if err := f.makeFolder(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := durable.Sync(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if len(f.known) >= maxKnown {
		clear(f.known)
	}
	f.known[dir] = true
	return nil
}

// Delete implements [Bucket]. The folder that held the object goes with its last one.
func (f *Folder) Delete(_ context.Context, name string) error {
	const op = "bucket.delete"
	if err := check(op, name); err != nil {
		return err
	}
	path := f.path(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return folderError(op, path, err)
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if dir := filepath.Dir(path); dir != f.dir && os.Remove(dir) == nil { // only an empty folder can be removed
		delete(f.known, dir)
	}
	return nil
}

// List implements [Bucket]; symbolic links and other special files are not objects.
func (f *Folder) List(ctx context.Context, prefix string, fn func(Object) (bool, error)) error {
	const op = "bucket.list"
	root := f.dir
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		if err := check(op, prefix[:i]); err != nil {
			return err
		}
		root = f.path(prefix[:i])
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the folder itself, or deleted while it is listed
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == f.temporary() {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(f.dir, path)
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(filepath.ToSlash(rel), prefix) {
			return err
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		more, err := fn(Object{Name: filepath.ToSlash(rel), Size: st.Size()})
		if err == nil && !more {
			err = fs.SkipAll
		}
		return err
	})
	return folderError(op, root, err)
}

// folderError classifies an error of the operating system.
func folderError(op, path string, err error) error {
	var own *vaultmesh.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "it was given up").Because(err)
	case errors.Is(err, fs.ErrExist):
		return vaultmesh.Errorf(vaultmesh.Conflict, op, path, "it exists")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ELOOP):
		return vaultmesh.Errorf(vaultmesh.NotFound, op, path, "no such object").Because(err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return vaultmesh.Errorf(vaultmesh.Denied, op, path, "not permitted").Because(err).WithFix("check the owner and the mode of the folder")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "the disk is full").Because(err).WithFix("free space; it is tried again")
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "the disk refuses").Because(err)
}
