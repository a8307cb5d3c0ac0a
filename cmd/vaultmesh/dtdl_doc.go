package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl/doc"
)

type dtdlDocCmd struct {
	dialect
	Paths []string `arg:"" name:"file|dir" help:"Files, folders (all *.json below them), or - for standard input."`
	Out   string   `short:"o" required:"" help:"File, or a folder for index.html. A name that ends with .md makes a Markdown page; - is standard output." placeholder:"DIR|FILE"`
	Title string   `help:"Title of the page." default:"Models"`
	Intro string   `help:"Paragraph below the title."`
	JSON  bool     `help:"Print one JSON object about what was written."`
}

// Run writes the page of a set: status 0 written, 2 the models cannot be used.
func (c *dtdlDocCmd) Run(a *app) error {
	set, docs, err := c.set(c.Paths)
	if err != nil {
		return refuse(a, "", docs, err, c.JSON)
	}
	o := doc.Options{Title: c.Title, Intro: c.Intro}
	path := c.Out
	if info, err := os.Stat(path); err == nil && info.IsDir() || strings.HasSuffix(path, "/") || path != "-" && filepath.Ext(path) == "" {
		path = filepath.Join(path, "index.html")
	}
	write := doc.HTML
	if strings.EqualFold(filepath.Ext(path), ".md") {
		write = doc.Markdown
	}
	text, err := write(set, o)
	if err != nil {
		return err
	}
	if path == "-" {
		_, err := a.out.Write(text)
		return err
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
		err = os.WriteFile(path, text, 0o644) // a page is for all
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.doc", path, "it cannot be written").Because(err)
	}
	if c.JSON {
		return writeJSON(a.out, map[string]any{"file": path, "interfaces": set.Len(), "bytes": len(text)})
	}
	_, err = fmt.Fprintf(a.out, "%s: %s, %d KiB\n", path, counted(set.Len(), "interface"), (len(text)+1023)/1024)
	return err
}
