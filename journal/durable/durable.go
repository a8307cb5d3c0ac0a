// Package durable writes small files that survive a power loss: keys, records, notes. A file that was synced may still be
// gone afterwards if the folder that names it was not, so both are, and the folders above that were made for it.
//
// It must not know what is in the files. Floor 2.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Replace puts data in the place of a file, all or nothing. Once it returns nil, the new content survives a power loss;
// after an error either content may be there.
func Replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return Sync(filepath.Dir(path))
}

// Create writes a file that must not exist yet (else the error is [fs.ErrExist]). Once it returns nil, the file survives a
// power loss. A file that could not be made so is removed.
func Create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = Sync(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Folder makes a folder and those above it that are missing, each durable under its name. One that is there already is
// synced into the folder above it all the same: whoever made it may have been cut short.
func Folder(path string, mode fs.FileMode) error {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	if st, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := Folder(parent, mode); err != nil {
			return err
		}
	} else if err == nil && !st.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: parent, Err: fs.ErrExist}
	}
	if err := os.Mkdir(path, mode); err != nil {
		if st, e := os.Stat(path); e != nil || !st.IsDir() {
			return err
		}
	}
	if err := Sync(parent); err != nil && !errors.Is(err, fs.ErrPermission) { // a folder of somebody else was there before
		return err
	}
	return nil
}

// Sync makes the names in a folder durable.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}
	watchers.Range(func(w, _ any) bool { (*w.(*func(string)))(dir); return true })
	return nil
}

var watchers sync.Map // *func(string)

// Watch has fn called with every folder that was synced since, until stop is called. It is for tests, which cannot see a
// sync in any other way; fn may be called from several goroutines.
func Watch(fn func(dir string)) (stop func()) {
	watchers.Store(&fn, nil)
	return func() { watchers.Delete(&fn) }
}
