package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

// starter is the model that a newcomer begins with. JSON has no comments: it has DTDL's own member "comment".
//
//go:embed starter.json
var starter string

const (
	starterID   = "dtmi:com:example:Starter;1"
	starterName = "Starter"
)

type dtdlNewCmd struct {
	Name string `arg:"" help:"Name of the interface, for example Pump, or its whole identifier, for example dtmi:com:acme:Pump;1."`
	Out  string `short:"o" help:"File; default: NAME.json. - is standard output." placeholder:"FILE"`
	JSON bool   `help:"Print one JSON object about what was written."`
}

// Run writes a model to start from: status 0 written, 2 if the name or the file cannot be used.
func (c *dtdlNewCmd) Run(a *app) error {
	id, name, text, err := startFrom(c.Name)
	if err != nil {
		return err
	}
	path := c.Out
	if path == "" {
		path = name + ".json"
	}
	if path == "-" {
		_, err := fmt.Fprint(a.out, text)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // a model is for all
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, fs.ErrExist) {
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.new", path, "there is such a file already, and it is kept").WithFix("choose another name with -o FILE")
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.new", path, "it cannot be written").Because(err)
	}
	if c.JSON {
		return writeJSON(a.out, map[string]any{"file": path, "id": id})
	}
	_, err = fmt.Fprintf(a.out, "%s: %s\n\nEdit it, then: %s\n", path, id, a.hint("dtdl check "+quoted(path)))
	return err
}

// startFrom gives the starter another identifier.
func startFrom(arg string) (id, name, text string, err error) {
	id = arg
	if !strings.HasPrefix(id, "dtmi:") {
		id = "dtmi:com:example:" + id + ";1"
	}
	refuse := func(why string) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.new", arg, "%s", why).WithFix("write a name of letters, digits and underscores that begins with a letter, like Pump, or an identifier like dtmi:com:acme:Pump;1")
	}
	d, err := dtdl.ParseDTMI(id)
	if err != nil {
		return "", "", "", refuse("it is no name of an interface").Because(err)
	}
	if d.IsSystem() || d.IsReserved() || d.Fragment() != "" || !strings.Contains(id, ";") {
		return "", "", "", refuse("it is no identifier that a model may have")
	}
	labels := d.Labels()
	name = labels[len(labels)-1]
	mode := d.Versionless() + "Mode" + id[len(d.Versionless()):]
	text = strings.NewReplacer(`"`+starterID+`"`, `"`+id+`"`, `"dtmi:com:example:StarterMode;1"`, `"`+mode+`"`, `"`+starterName+`"`, `"`+name+`"`).Replace(starter)
	if _, err := dtdl.Parse([]dtdl.Document{{Name: name + ".json", Data: []byte(text)}}, dtdl.Options{}); err != nil {
		return "", "", "", refuse("the model would not be valid").Because(err)
	}
	return id, name, text, nil
}
