// Package dtdl owns the Digital Twins Definition Language: it parses sets of interfaces of DTDL v2, v3 and
// v4 into an immutable model, and validates instance values (properties, telemetry, command requests and
// responses) against it with validators that are compiled once.
//
// It must not know twins, devices, transports or stores, and it reads no file and no clock. It is on floor 1
// and imports only the root package.
//
// Of the language's extensions, annotation, historization, mqtt, overriding and requirement are known by the
// names of their types and properties. Any type that begins with an upper-case letter counts as a semantic
// type where quantitativeTypes is in force: it needs a unit and a numeric schema, and both names are kept as
// written, without a check against the vocabulary of quantities. What the iotcentral and iotoperations
// contexts define is kept unchecked.
//
// Sources: DTDL.v2.md, DTDL.v3.md and DTDL.v4.md of the language's own specification, RFC 8259 (JSON),
// RFC 3339 (dates and times), ISO 8601 (durations), RFC 9562 (UUID), RFC 7946 (GeoJSON geometries).
package dtdl

// Bounds on what comes from outside. They are the language's own where it has one, and generous otherwise.
const (
	MaxDocuments     = 10_000    // documents of one set
	MaxDocumentBytes = 16 << 20  // one document
	MaxSetBytes      = 64 << 20  // all documents of one set
	MaxDocumentDepth = 128       // nesting of JSON arrays and objects in a document
	MaxInterfaceSize = 1 << 20   // text of one interface in bytes, without interfaces written inside it (DTDL v3, v4)
	MaxHierarchy     = 1024      // interfaces that one interface extends, directly or not
	MaxElements      = 100_000   // elements below the contents of one interface, inherited ones included
	MaxSetContents   = 2_000_000 // contents of all interfaces of a set, inherited ones counted in each heir
	MaxErrors        = 100       // errors that one run reports; further ones are counted
	MaxValueBytes    = 1 << 20   // one instance value
	MaxValueDepth    = 32        // nesting of JSON arrays and objects in an instance value
)

// Document is one text of a set: one interface, or an array of interfaces, in JSON.
type Document struct {
	Name string // names the text in errors, for example its file name
	Data []byte // UTF-8, a byte order mark is tolerated
}

// Options changes how a set is parsed; the zero value is strict.
type Options struct {
	// AllowUndefinedExtensions accepts contexts that this package does not know, and with such a context in
	// force unknown co-types and unknown properties, which are kept. DTDL v2 always allows them.
	AllowUndefinedExtensions bool
}

// Parse reads a whole set of documents: every interface that another one extends or holds as a component
// must be in it. The order of the documents does not matter to the model. All errors are found in one run:
// the error is an [*Errors], in the order of the documents. The documents are not kept and may be reused.
func Parse(docs []Document, o Options) (*Set, error) {
	p := newParser(o)
	p.read(docs)
	p.link()
	if err := p.errs.result(); err != nil {
		return nil, err
	}
	return p.seal(), nil
}
