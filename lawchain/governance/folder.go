package governance

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"vaultmesh.org/vaultmesh"
)

// Bounds of what is read of a folder.
const (
	maxFiles = 20_000
	maxDepth = 16
	maxFile  = 1 << 20   // bytes of a JSON file
	maxOther = 16 << 20  // bytes of a file that is only hashed
	maxTotal = 512 << 20 // bytes that are read in all
)

// folder reads below one directory and nowhere else: a link is not read, none leads out, devices and pipes are not opened.
type folder struct {
	root  *os.Root
	read  int64
	files map[string]fs.FileMode // regular and others, by slash-separated path
	got   map[string]bool        // which were read, by path
}

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		kind := vaultmesh.Unavailable
		if errors.Is(err, fs.ErrNotExist) {
			kind = vaultmesh.NotFound
		}
		return nil, vaultmesh.Errorf(kind, "governance.open", dir, "cannot open the folder").Because(err)
	}
	return &folder{root: root, files: map[string]fs.FileMode{}, got: map[string]bool{}}, nil
}

// walk lists everything below the given folders; absent ones are left out.
func (f *folder) walk(dirs ...string) error {
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		if strings.Count(dir, "/") >= maxDepth {
			return vaultmesh.Errorf(vaultmesh.TooLarge, "governance.walk", dir, "folders are nested deeper than %d", maxDepth)
		}
		st, err := f.root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "governance.walk", dir, "cannot look at it").Because(err)
		}
		if !st.IsDir() {
			f.files[dir] = st.Mode()
			continue
		}
		inner, err := f.list(dir)
		if err != nil {
			return err
		}
		dirs = append(dirs, inner...)
	}
	return nil
}

// list notes the files of one folder and returns its folders.
func (f *folder) list(dir string) (inner []string, err error) {
	d, err := f.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "governance.walk", dir, "cannot list it").Because(err)
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if len(f.files) >= maxFiles {
				return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "governance.walk", dir, "more than %d files", maxFiles)
			}
			name := path.Join(dir, e.Name())
			if e.IsDir() {
				inner = append(inner, name)
			} else {
				f.files[name] = e.Type()
			}
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(inner)
			return inner, nil
		}
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "governance.walk", dir, "cannot list it").Because(err)
		}
	}
}

// names are the paths that were found, sorted.
func (f *folder) names() []string {
	out := make([]string, 0, len(f.files))
	for name := range f.files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// get reads a regular file below the folder. Kinds: NotFound, Denied (a link or special file), TooLarge, Unavailable.
func (f *folder) get(name string, limit int64) ([]byte, error) {
	const op = "governance.read"
	if f.read > maxTotal {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, name, "more than %d bytes in all", maxTotal)
	}
	st, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, name, "it is not there")
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, name, "it leads out of the folder, or cannot be looked at")
	}
	if !st.Mode().IsRegular() {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, name, "it is no regular file (%s)", st.Mode().Type())
	}
	// Between the look and the opening it may become a pipe or a link: neither is waited for or followed.
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot open it").Because(err)
	}
	defer file.Close()
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, name, "it is no regular file")
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot read it").Because(err)
	}
	f.got[path.Clean(name)] = true
	if f.read += int64(len(data)); int64(len(data)) > limit {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, name, "it has more than %d bytes", limit)
	}
	return data, nil
}
