package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

type dtdlCmd struct {
	Check dtdlCheckCmd `cmd:"" help:"Check models; all files form one set. Status 0 valid, 1 invalid, 2 unusable."`
	Diff  dtdlDiffCmd  `cmd:"" help:"Compare two versions of a model set. Status 0 compatible, 1 breaking, 2 unusable."`
	Doc   dtdlDocCmd   `cmd:"" help:"Write a browsable page of a model set: one HTML file that needs no network, or Markdown."`
	New   dtdlNewCmd   `cmd:"" help:"Write a commented model to start from."`
}

// dialect is how models are read.
type dialect struct {
	MaxVersion                  int  `help:"Highest version of the language that is accepted: 2, 3 or 4." default:"0" placeholder:"N"`
	AllowUndefinedExtensions    bool `help:"Accept extensions that are not known, in every version of the language." xor:"undefined"`
	DisallowUndefinedExtensions bool `help:"Refuse extensions that are not known, in DTDL v2 too." xor:"undefined"`
}

func (d dialect) options() (dtdl.Options, error) {
	if d.MaxVersion != 0 && (d.MaxVersion < 2 || d.MaxVersion > 4) {
		return dtdl.Options{}, vaultmesh.Errorf(vaultmesh.Invalid, "dtdl", "--max-version", "%d is no version of DTDL", d.MaxVersion).WithFix("write 2, 3 or 4")
	}
	return dtdl.Options{MaxVersion: d.MaxVersion, AllowUndefinedExtensions: d.AllowUndefinedExtensions, DisallowUndefinedExtensions: d.DisallowUndefinedExtensions}, nil
}

// set reads and parses the models of files and folders. Errors in the models are a *dtdl.Errors.
func (d dialect) set(paths []string) (*dtdl.Set, []dtdl.Document, error) {
	o, err := d.options()
	if err != nil {
		return nil, nil, err
	}
	docs, err := readModels(paths, os.Stdin)
	if err != nil {
		return nil, nil, err
	}
	set, err := dtdl.Parse(docs, o)
	return set, docs, err
}

// modelReader collects documents within the bounds of one set.
type modelReader struct {
	docs  []dtdl.Document
	seen  map[string]bool
	bytes int
}

// readModels reads files, and of folders all files below them whose names end with .json; "-" is the standard input.
func readModels(paths []string, stdin io.Reader) ([]dtdl.Document, error) {
	r := modelReader{seen: map[string]bool{}}
	for _, path := range paths {
		if path == "-" {
			if err := r.read("standard input", stdin); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		before := len(r.docs)
		if !info.IsDir() {
			err = r.file(path)
		} else if err = r.folder(path); err == nil && len(r.docs) == before && len(r.seen) == 0 {
			err = vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.read", path, "no file below this folder has a name that ends with .json").WithFix("name the folder or the files of the models")
		}
		if err != nil {
			return nil, err
		}
	}
	return r.docs, nil
}

func unreadable(path string, err error) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.read", path, "it cannot be read").Because(err).WithFix("name files or folders of models that you may read")
}

func (r *modelReader) folder(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return unreadable(path, err)
		case e.IsDir() && path != dir && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(strings.ToLower(e.Name()), ".json"):
			return nil
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a pipe or a device would block
			return nil // a dangling link is no model
		}
		return r.file(path)
	})
}

func (r *modelReader) file(path string) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return unreadable(path, err)
	}
	if r.seen[full] {
		return nil
	}
	r.seen[full] = true
	f, err := os.Open(path)
	if err != nil {
		return unreadable(path, err)
	}
	defer f.Close()
	return r.read(path, f)
}

func (r *modelReader) read(name string, from io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(from, dtdl.MaxDocumentBytes+1))
	if err != nil {
		return unreadable(name, err)
	}
	r.bytes += len(data)
	r.docs = append(r.docs, dtdl.Document{Name: name, Data: data})
	switch {
	case len(data) > dtdl.MaxDocumentBytes:
		return vaultmesh.Errorf(vaultmesh.TooLarge, "dtdl.read", name, "it is larger than %d MiB", dtdl.MaxDocumentBytes>>20)
	case r.bytes > dtdl.MaxSetBytes:
		return vaultmesh.Errorf(vaultmesh.TooLarge, "dtdl.read", name, "with it the set is larger than %d MiB", dtdl.MaxSetBytes>>20)
	case len(r.docs) > dtdl.MaxDocuments:
		return vaultmesh.Errorf(vaultmesh.TooLarge, "dtdl.read", name, "with it the set has more than %d files", dtdl.MaxDocuments)
	}
	return nil
}

// verdict is the answer of check in JSON. Error says why a set could not be judged.
type verdict struct {
	Valid   bool          `json:"valid"`
	Errors  []*dtdl.Error `json:"errors"`
	Omitted int           `json:"omitted,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// judge turns what Parse says into a verdict and the exit status of it.
func judge(err error) (verdict, int) {
	v := verdict{Errors: []*dtdl.Error{}}
	var errs *dtdl.Errors
	switch {
	case err == nil:
		v.Valid = true
		return v, 0
	case errors.As(err, &errs):
		v.Errors, v.Omitted = append(v.Errors, errs.List...), errs.Omitted
		return v, exitNo
	}
	v.Error = err.Error()
	return v, exitUnusable
}

// refuse reports a set that cannot be used for anything but check: in JSON or as check would, with status 2.
func refuse(a *app, what string, docs []dtdl.Document, err error, asJSON bool) error {
	v, code := judge(err)
	if asJSON {
		if err := writeJSON(a.out, struct {
			verdict
			Set string `json:"set,omitempty"`
		}{v, what}); err != nil {
			return err
		}
		return status(exitUnusable)
	}
	if code == exitUnusable {
		return err
	}
	newScreen(a.errOut).errors(v, docs)
	return status(exitUnusable)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
