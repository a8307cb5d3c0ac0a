package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

type verifyCmd struct {
	Bundle  string `arg:"" help:"Bundle file." type:"path"`
	Trust   string `help:"Trust file: the keys that you pin." required:"" type:"path"`
	JSON    bool   `help:"Print one JSON object."`
	All     bool   `help:"Print every check, not only families of checks."`
	Extract string `help:"Also write the parts to this folder, for other tools." type:"path"`
}

// Run judges a bundle: status 0 accepted, 1 rejected, 2 the files cannot be used.
func (c *verifyCmd) Run(a *app) error {
	text, err := readBounded(c.Trust, receipt.MaxTrust)
	if err != nil {
		return err
	}
	trust, err := receipt.LoadTrust(text)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "verify", c.Trust, "the trust file cannot be used").Because(err)
	}
	bundle, err := readBounded(c.Bundle, receipt.MaxBundle)
	if err != nil {
		return err
	}
	r := receipt.Verify(bundle, trust)
	if c.JSON {
		if _, err := fmt.Fprintf(a.out, "%s\n", r.JSON()); err != nil {
			return err
		}
	} else if err := r.Tree(a.out, c.All || !r.OK); err != nil {
		return err
	}
	if c.Extract != "" {
		if err := extract(bundle, c.Extract); err != nil {
			return err
		}
	}
	if !r.OK {
		return status(exitNo)
	}
	return nil
}

// extract writes the parts as files. Names of a decoded bundle are local paths.
func extract(bundle []byte, dir string) error {
	b, err := receipt.DecodeBundle(bundle)
	if err != nil {
		return err
	}
	for _, p := range b.Parts {
		if !filepath.IsLocal(p.Name) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "verify", p.Name, "not a local name")
		}
		path := filepath.Join(dir, filepath.FromSlash(p.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "verify", path, "cannot create the folder").Because(err)
		}
		if err := os.WriteFile(path, p.Data, 0o644); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "verify", path, "cannot write").Because(err)
		}
	}
	return nil
}

// readBounded reads a regular file of at most limit bytes; anything else is unusable input.
func readBounded(path string, limit int64) ([]byte, error) {
	unusable := func(format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "read", path, format, args...)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, unusable("cannot open").Because(err)
	}
	if st.Mode()&fs.ModeType != 0 {
		return nil, unusable("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unusable("cannot open").Because(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, unusable("cannot read").Because(err)
	}
	if int64(len(b)) > limit {
		return nil, unusable("more than %d bytes", limit)
	}
	return b, nil
}
