package grid

import (
	"embed"
	"io/fs"

	"vaultmesh.org/vaultmesh/dtdl"
)

//go:embed models/*.json
var modelFiles embed.FS

// Models returns the DTDL v4 documents of this package, by name of file. Units are those of the extension
// quantitativeTypes; what has none is per unit on the grid's base, or a ratio. The documents are the caller's.
func Models() []dtdl.Document {
	names, err := fs.Glob(modelFiles, "models/*.json")
	if err != nil {
		return nil // the pattern is constant and well-formed
	}
	docs := make([]dtdl.Document, 0, len(names))
	for _, name := range names {
		if data, err := modelFiles.ReadFile(name); err == nil { // a listed embedded file can be read
			docs = append(docs, dtdl.Document{Name: name, Data: data})
		}
	}
	return docs
}
