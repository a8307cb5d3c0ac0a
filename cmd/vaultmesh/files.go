package main

import (
	"errors"
	"io"
	"os"

	"vaultmesh.org/vaultmesh"
)

// readUpTo reads a regular file of at most limit bytes: a pipe or a device could go on for ever.
func readUpTo(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "cannot open").Because(err)
	}
	if !st.Mode().IsRegular() {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "cannot open").Because(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "cannot read").Because(err)
	}
	if int64(len(b)) > limit {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "read", path, "more than %d bytes", limit)
	}
	return b, nil
}

// writeFile writes a file that anybody may read, over one that is there.
func writeFile(op, path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot write").Because(err)
	}
	return nil
}

// writeNew writes a file that does not exist yet: a proof is not overwritten by another.
func writeNew(op, path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, path, "cannot create the file").Because(err).WithFix("name a file that does not exist yet, in a folder that does")
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot write").Because(err)
	}
	return nil
}
